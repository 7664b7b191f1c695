//! Parallel workers: processes that share the leader's transaction and snapshot, and write nothing
//! (`src/backend/access/transam/README.parallel`).

use super::unwinding;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys of the shared memory's table of contents; below 2^48, as those of extensions have to be.
const KEY_SHARED: u64 = 1;
const KEY_JOB: u64 = 2;
/// And one from here on per worker.
const KEY_ANSWER: u64 = 16;

/// Bytes of a worker's answer.
const ANSWER: usize = 4 << 20;

/// What leader and workers share: who takes which part of the work.
#[repr(C)]
pub struct Shared {
    next: AtomicU64,
    job_length: AtomicU64,
}

impl Shared {
    /// For a leader without workers.
    pub fn alone() -> Self {
        Self {
            next: AtomicU64::new(0),
            job_length: AtomicU64::new(0),
        }
    }

    /// The number of the next part, each given once.
    pub fn next(&self) -> usize {
        usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// How many parts were taken.
    pub fn taken(&self) -> usize {
        usize::try_from(self.next.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }
}

/// The leader's hold on its workers. From `start` to `finish` the transaction is in parallel mode: it writes nothing and takes
/// no new snapshot.
pub struct Team {
    context: *mut pg_sys::ParallelContext,
    shared: *const Shared,
    answers: Vec<*const u8>,
}

impl Team {
    /// Starts up to `workers` processes that run `entry` of this library on the job; there may be none.
    pub fn start(entry: &'static CStr, job: &[u8], workers: i32) -> Self {
        // SAFETY: the sequence of README.parallel. Sizes are estimated before the segment is made; what is in it lives until
        // the context is destroyed. An ERROR in between is cleaned up by the (sub)transaction's abort.
        unsafe {
            pg_sys::EnterParallelMode();
            let context =
                pg_sys::CreateParallelContext(c"pg_attest".as_ptr(), entry.as_ptr(), workers);
            let count = (*context).nworkers as usize;
            let chunk = |size: usize| {
                let estimator = &raw mut (*context).estimator;
                // shm_toc_estimate_chunk and _keys, macros in C; BUFFERALIGN is to 32.
                (*estimator).space_for_chunks += size.next_multiple_of(32);
                (*estimator).number_of_keys += 1;
            };
            chunk(size_of::<Shared>());
            chunk(job.len().max(1));
            for _ in 0..count {
                chunk(ANSWER);
            }
            pg_sys::InitializeParallelDSM(context);
            let toc = (*context).toc;
            let shared = pg_sys::shm_toc_allocate(toc, size_of::<Shared>()).cast::<Shared>();
            shared.write(Shared {
                next: AtomicU64::new(0),
                job_length: AtomicU64::new(job.len() as u64),
            });
            pg_sys::shm_toc_insert(toc, KEY_SHARED, shared.cast());
            let space = pg_sys::shm_toc_allocate(toc, job.len().max(1)).cast::<u8>();
            std::ptr::copy_nonoverlapping(job.as_ptr(), space, job.len());
            pg_sys::shm_toc_insert(toc, KEY_JOB, space.cast());
            let mut answers = Vec::new();
            // InitializeParallelDSM falls back to no worker when it gets no segment.
            for worker in 0..(*context).nworkers as usize {
                let space = pg_sys::shm_toc_allocate(toc, ANSWER).cast::<u8>();
                space.cast::<u64>().write(0);
                pg_sys::shm_toc_insert(toc, KEY_ANSWER + worker as u64, space.cast());
                answers.push(space.cast_const());
            }
            pg_sys::LaunchParallelWorkers(context);
            Self {
                context,
                shared,
                answers,
            }
        }
    }

    pub fn shared(&self) -> &Shared {
        // SAFETY: lives as long as the context.
        unsafe { &*self.shared }
    }

    /// Waits for the workers and returns their answers; an error of theirs is raised here.
    pub fn finish(self) -> Vec<Vec<u8>> {
        // SAFETY: after the workers have ended nobody writes; a length of 0 is a worker that never ran.
        unsafe {
            pg_sys::WaitForParallelWorkersToFinish(self.context);
            let answers = self.answers.iter().filter_map(|space| {
                let length = space.cast::<u64>().read() as usize;
                (length > 0).then(|| std::slice::from_raw_parts(space.add(8), length).to_vec())
            });
            answers.collect()
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: made by us, destroyed once.
            unsafe {
                pg_sys::DestroyParallelContext(self.context);
                pg_sys::ExitParallelMode();
            }
        }
    }
}

/// What an entry point does with what the leader shares.
///
/// # Safety
/// Called by `ParallelWorkerMain` with the leader's table of contents.
pub(crate) unsafe fn run_worker(toc: *mut pg_sys::shm_toc, work: fn(&[u8], &Shared) -> Vec<u8>) {
    // SAFETY: the leader put these there, and its segment lives as long as this worker; the answer fits its space.
    unsafe {
        let shared = pg_sys::shm_toc_lookup(toc, KEY_SHARED, false).cast::<Shared>();
        let job = pg_sys::shm_toc_lookup(toc, KEY_JOB, false).cast::<u8>();
        let length = (*shared).job_length.load(Ordering::Relaxed) as usize;
        let answer = work(std::slice::from_raw_parts(job, length), &*shared);
        assert!(answer.len() <= ANSWER - 8, "a worker's answer is too long");
        let number = pg_sys::ParallelWorkerNumber as u64;
        let space = pg_sys::shm_toc_lookup(toc, KEY_ANSWER + number, false).cast::<u8>();
        std::ptr::copy_nonoverlapping(answer.as_ptr(), space.add(8), answer.len());
        space.cast::<u64>().write(answer.len() as u64);
    }
}

/// Declares the function of this name that `PostgreSQL` calls in a parallel worker.
macro_rules! entry_point {
    ($name:ident, $work:path) => {
        /// Called by `ParallelWorkerMain`.
        #[pgrx::pg_guard]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            _segment: *mut pgrx::pg_sys::dsm_segment,
            toc: *mut pgrx::pg_sys::shm_toc,
        ) {
            // SAFETY: PostgreSQL passes the leader's table of contents.
            unsafe { crate::pg::parallel::run_worker(toc, $work) }
        }
    };
}
pub(crate) use entry_point;
