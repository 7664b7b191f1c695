//! What is told of rows outlives a dump and restore, after which tables have other OIDs.

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster};
use postgres::Client;

use super::dump::{dump, place, restore};

const SOURCE: &str = "
    CREATE TABLE goods (gone int, id int PRIMARY KEY, qty int, note text);
    CREATE TABLE other (id int PRIMARY KEY, v text);
    SELECT audit.attach('goods'), audit.attach('other');
    INSERT INTO goods VALUES (0, 1, 10, 'a'), (0, 2, 20, 'b');
    INSERT INTO other VALUES (1, 'o');
    ALTER TABLE goods DROP COLUMN gone;
    ALTER TABLE goods RENAME qty TO amount;
    UPDATE goods SET amount = 11 WHERE id = 1;
    UPDATE goods SET id = 3 WHERE id = 2";

/// A restored database: columns are numbered anew, tables have new OIDs.
fn restored(source: &Database, target: &Database) -> Result<Client> {
    let file = place(source, "lineage.dump");
    dump(source, &["-Fc"], &file)?;
    // OIDs move on.
    target
        .connect()?
        .run("CREATE TABLE filler (i int); CREATE TABLE more_filler (i int)")?;
    restore(target, &[], &file)?;
    target.connect()
}

#[test]
fn history_follows_a_restore() {
    own_cluster(&[], |source| {
        let target = Database::empty(source.cluster())?;
        let mut client = source.connect()?;
        client.run(SOURCE)?;
        let then = client.one("SELECT clock_timestamp()")?;
        let old_oid = client.one("SELECT 'goods'::regclass::oid")?;

        let mut client = restored(source, &target)?;
        let new_oid = client.one("SELECT 'goods'::regclass::oid")?;
        ensure!(old_oid != new_oid, "the OID is the same: nothing is tested");
        client.run("UPDATE goods SET amount = 12 WHERE id = 1; ALTER TABLE goods RENAME amount TO units; UPDATE goods SET id = 4 WHERE id = 3")?;
        check(&mut client, &then)?;

        // The old OID may be another table's now.
        client.run(
            "SET audit.restore = on;
             UPDATE audit.audit_events SET table_oid = 'other'::regclass WHERE table_name = 'goods' AND table_oid <> 'goods'::regclass;
             RESET audit.restore; UPDATE other SET v = 'p'",
        )?;
        check(&mut client, &then)?;
        let other = client
            .table("SELECT operation, changes -> 'v' ->> 'new' FROM audit.history('other', '1')")?;
        ensure!(other == ["insert|o", "update|p"], "{other:?}");
        Ok(())
    });
}

fn check(client: &mut Client, then: &str) -> Result<()> {
    let history = client.table(
        "SELECT operation, row_key, changes -> 'units' ->> 'new' FROM audit.history('goods', '1')",
    )?;
    ensure!(
        history == ["insert|1|10", "update|1|11", "update|1|12"],
        "{history:?}"
    );
    let moved = client.table("SELECT life, operation, row_key FROM audit.history('goods', '4')")?;
    ensure!(
        moved == ["1|insert|2", "1|update|3", "1|update|4"],
        "{moved:?}"
    );
    let then = client.table(&format!(
        "SELECT id, units, note FROM audit.as_of(NULL::goods, '{then}') ORDER BY id"
    ))?;
    ensure!(then == ["1|11|a", "3|20|b"], "{then:?}");
    let now = client.table(
        "SELECT * FROM audit.as_of(NULL::goods, clock_timestamp()) EXCEPT ALL SELECT * FROM goods",
    )?;
    ensure!(now.is_empty(), "{now:?}");
    let blame =
        client.table("SELECT column_name, value, operation FROM audit.blame('goods', '1')")?;
    ensure!(
        blame == ["id|1|insert", "units|12|update", "note|\"a\"|insert"],
        "{blame:?}"
    );
    Ok(())
}
