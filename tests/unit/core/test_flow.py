"""The queue between stages: bounded by bytes, and broken for all by the first failure."""

from __future__ import annotations

import threading

import pytest

from sql_databricks_bridge.core.flow import Broken, ByteQueue, Flow


def test_items_come_out_in_order_and_end() -> None:
    """What went in comes out, in order, until it is closed."""
    queue: ByteQueue[int] = ByteQueue(Flow(lambda: None), 100)
    for number in range(5):
        queue.put(number, 10)
    queue.close()
    assert list(queue) == [0, 1, 2, 3, 4]


def test_a_full_queue_waits_for_room() -> None:
    """The sender is held at the limit and goes on when the receiver takes something."""
    queue: ByteQueue[int] = ByteQueue(Flow(lambda: None), 100)
    queue.put(1, 60)
    sent = threading.Event()

    def send() -> None:
        queue.put(2, 60)
        sent.set()
        queue.close()

    thread = threading.Thread(target=send)
    thread.start()
    assert not sent.wait(0.05)
    assert list(queue) == [1, 2]
    thread.join()


def test_an_item_above_the_limit_passes_alone() -> None:
    """A value bigger than the bound is no dead lock."""
    queue: ByteQueue[int] = ByteQueue(Flow(lambda: None), 10)
    queue.put(1, 1000)
    queue.close()
    assert list(queue) == [1]


def test_the_first_failure_stops_waiting_senders_and_receivers() -> None:
    """A failure wakes both ends, is kept, told once, and later ones are not."""
    told: list[str] = []
    flow = Flow(lambda: told.append("failed"))
    full: ByteQueue[int] = ByteQueue(flow, 10)
    empty: ByteQueue[int] = ByteQueue(flow, 10)
    full.put(1, 10)
    broken: list[str] = []

    def send() -> None:
        with pytest.raises(Broken):
            full.put(2, 10)
        broken.append("sender")

    def receive() -> None:
        with pytest.raises(Broken):
            next(iter(empty))
        broken.append("receiver")

    threads = [threading.Thread(target=work) for work in (send, receive)]
    for thread in threads:
        thread.start()
    first = RuntimeError("first")
    flow.fail(first)
    flow.fail(RuntimeError("second"))
    for thread in threads:
        thread.join(5)
    assert sorted(broken) == ["receiver", "sender"]
    assert flow.failure is first
    assert told == ["failed"]
