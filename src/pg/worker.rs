//! What background workers need of `PostgreSQL` (`src/backend/postmaster/bgworker.c`).

use super::relation::{OpenRelation, lock};
use super::scan::Scan;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime, DynamicBackgroundWorker};
use pgrx::pg_sys;
use std::time::Duration;

/// As `pg_stat_activity.backend_type` shows them.
pub const LAUNCHER: &str = "pg_attest launcher";
pub const SEALER: &str = "pg_attest sealer";
pub const KEEPER: &str = "pg_attest keeper";

mod raw {
    unsafe extern "C-unwind" {
        /// `src/backend/tcop/postgres.c`
        pub fn die(signal: i32);
        /// `src/backend/postmaster/interrupt.c`
        pub fn SignalHandlerForConfigReload(signal: i32);
    }
}

/// Whether the library is being loaded by `shared_preload_libraries` of a server in normal operation.
pub fn is_preloading() -> bool {
    // SAFETY: plain reads.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress && !pg_sys::IsBinaryUpgrade }
}

/// Registers the launcher; not before recovery ends, so never on a standby.
pub fn register_launcher(function: &str) {
    builder(LAUNCHER, function)
        .set_restart_time(Some(Duration::from_secs(5)))
        .load();
}

/// Starts a sealer in a database; None when there is no slot for it.
pub fn start_sealer(function: &str, database: pg_sys::Oid) -> Option<DynamicBackgroundWorker> {
    // SAFETY: plain read.
    let own = unsafe { pg_sys::MyProcPid };
    builder(SEALER, function)
        .set_restart_time(None)
        .set_argument(Some(pg_sys::Datum::from(database)))
        .set_notify_pid(own)
        .load_dynamic()
        .ok()
}

/// Starts a keeper in this database: it ends by itself. None when there is no slot for it.
pub fn start_keeper(function: &str) -> Option<DynamicBackgroundWorker> {
    // SAFETY: plain reads.
    let (own, database) = unsafe { (pg_sys::MyProcPid, pg_sys::MyDatabaseId) };
    builder(KEEPER, function)
        .set_restart_time(None)
        .set_argument(Some(pg_sys::Datum::from(database)))
        .set_notify_pid(own)
        .load_dynamic()
        .ok()
}

fn builder(name: &str, function: &str) -> BackgroundWorkerBuilder {
    BackgroundWorkerBuilder::new(name)
        .set_type(name)
        .set_library("pg_attest")
        .set_function(function)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
}

/// Takes signals as other server processes do, and connects: to a database, or to the shared catalogs alone.
pub fn connect(database: Option<pg_sys::Oid>) {
    // SAFETY: called once, at the start of a background worker. The handlers are PostgreSQL's own.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            pg_sys::pqsignal(pg_sys::SIGTERM as i32, Some(raw::die));
            pg_sys::pqsignal(
                pg_sys::SIGHUP as i32,
                Some(raw::SignalHandlerForConfigReload),
            );
        }
        #[cfg(feature = "pg18")]
        {
            pg_sys::pqsignal_be(pg_sys::SIGTERM as i32, Some(raw::die));
            pg_sys::pqsignal_be(
                pg_sys::SIGHUP as i32,
                Some(raw::SignalHandlerForConfigReload),
            );
        }
        pg_sys::BackgroundWorkerUnblockSignals();
        if let Some(database) = database {
            let superuser = pg_sys::InvalidOid;
            pg_sys::BackgroundWorkerInitializeConnectionByOid(database, superuser, 0);
        } else {
            let none = std::ptr::null();
            pg_sys::BackgroundWorkerInitializeConnection(none, none, 0);
        }
    }
}

/// Waits until the time is over or somebody wakes us. True when the configuration was read anew. Ends the process when it is told
/// to, or when the postmaster is gone.
pub fn wait(time: Duration) -> bool {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let milliseconds = time.as_millis().try_into().unwrap_or(i64::MAX);
    // SAFETY: a worker's own latch.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            milliseconds,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        pgrx::check_for_interrupts!();
        let reload = (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0;
        if reload {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
        reload
    }
}

/// Runs `f` in a transaction of its own, READ COMMITTED and READ WRITE whatever the database's defaults are. An ERROR ends the worker.
pub fn transaction<R>(activity: &str, f: impl FnOnce() -> R) -> R {
    // SAFETY: no transaction is open. The two settings are variables behind their GUCs, reset by the next start.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::XactReadOnly = false;
        pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
    }
    super::progress::show(activity);
    let result = f();
    // SAFETY: the transaction that was started above.
    unsafe {
        pg_sys::CommitTransactionCommand();
        pg_sys::pgstat_report_stat(true);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
    }
    result
}

/// The databases that take connections and are no templates. In a transaction.
pub fn databases() -> Vec<pg_sys::Oid> {
    let opened = OpenRelation::table(pg_sys::DatabaseRelationId, lock::ACCESS_SHARE);
    let mut scan = Scan::new(opened.relation());
    let mut found = Vec::new();
    while let Some(oid) = scan.next_form(|form: &pg_sys::FormData_pg_database| {
        (form.datallowconn && !form.datistemplate).then_some(form.oid)
    }) {
        found.extend(oid);
    }
    found
}

/// Ends the process as one that is done.
#[allow(unreachable_code)] // pgrx does not know of every version that proc_exit does not return
pub fn exit() -> ! {
    // SAFETY: between transactions.
    unsafe { pg_sys::proc_exit(0) };
    unreachable!("proc_exit does not return")
}
