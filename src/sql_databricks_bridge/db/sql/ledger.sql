-- The bridge's schema: its ledger, and the staging tables that it makes and drops there by itself.
-- Harmless when run again. What the bridge's own user needs (replace [bridge_user]) besides its rights on the targets:
--
--   GRANT CREATE TABLE TO [bridge_user];                             -- staging tables
--   GRANT SELECT, INSERT, ALTER ON SCHEMA::bridge TO [bridge_user];
--   GRANT UPDATE ON bridge.applied_events TO [bridge_user];          -- never DELETE: what was applied stays known
--   GRANT VIEW DEFINITION TO [bridge_user];                          -- to see cascades into tables it has no right on
--
-- On each target: GRANT SELECT, INSERT, UPDATE, DELETE (and ALTER where events use keep_identity).

IF SCHEMA_ID(N'bridge') IS NULL
    EXEC (N'CREATE SCHEMA bridge');

IF OBJECT_ID(N'bridge.applied_events', N'U') IS NULL
    CREATE TABLE bridge.applied_events (
        event_id nvarchar(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
        generation int NOT NULL,
        payload_hash binary(32) NOT NULL,
        source_version bigint NULL,
        outcome varchar(10) NOT NULL
            CONSTRAINT ck_applied_events_outcome CHECK (outcome IN ('open', 'applied', 'failed', 'blocked')),
        rows_affected bigint NULL,
        rows_expected bigint NULL,
        message nvarchar(4000) NULL,
        applied_at datetime2(3) NOT NULL CONSTRAINT df_applied_events_applied_at DEFAULT SYSUTCDATETIME(),
        CONSTRAINT pk_applied_events PRIMARY KEY CLUSTERED (event_id, generation)
    );
