//! Trigger calls: what `PostgreSQL` tells a trigger function, and the entry points it calls.
//!
//! Sources: `src/include/commands/trigger.h`, chapter "Writing Trigger Functions in C".

use super::relation::RelationRef;
use super::slot::Row;
use super::tuplestore::TransitionTable;
use pgrx::pg_sys;
use std::ffi::CStr;

/// What a statement does to a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

/// One call of a trigger function.
pub struct Firing<'a> {
    data: &'a pg_sys::TriggerData,
}

impl<'a> Firing<'a> {
    /// None when the function was not called by the trigger manager.
    ///
    /// # Safety
    /// `fcinfo` is the live argument of a C-language function.
    pub unsafe fn of_call(fcinfo: pg_sys::FunctionCallInfo) -> Option<Self> {
        // SAFETY: by the caller; the node tag is checked before the cast (CALLED_AS_TRIGGER).
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                return None;
            }
            Some(Self {
                data: &*context.cast::<pg_sys::TriggerData>(),
            })
        }
    }

    pub fn operation(&self) -> Operation {
        match self.data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Operation::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Operation::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Operation::Delete,
            _ => Operation::Truncate,
        }
    }

    /// The table that the trigger is on.
    pub fn relation(&self) -> RelationRef<'a> {
        // SAFETY: the executor keeps the relation open during the call.
        unsafe { RelationRef::new(self.data.tg_relation) }
    }

    /// The trigger's first argument.
    pub fn argument(&self) -> Option<&'a CStr> {
        // SAFETY: tg_trigger is set in every trigger call; tgargs has tgnargs entries.
        unsafe {
            let trigger = self.data.tg_trigger;
            ((*trigger).tgnargs > 0).then(|| CStr::from_ptr(*(*trigger).tgargs))
        }
    }

    /// The trigger's name.
    pub fn name(&self) -> &'a CStr {
        // SAFETY: tg_trigger is set in every trigger call, with its name.
        unsafe { CStr::from_ptr((*self.data.tg_trigger).tgname) }
    }

    /// The rows as they were before the statement, if the trigger asked for them.
    pub fn old_table(&self) -> Option<TransitionTable> {
        let store = self.data.tg_oldtable;
        (!store.is_null()).then(|| TransitionTable::new(store))
    }

    /// The rows as they are after the statement, if the trigger asked for them.
    pub fn new_table(&self) -> Option<TransitionTable> {
        let store = self.data.tg_newtable;
        (!store.is_null()).then(|| TransitionTable::new(store))
    }

    /// Of a row trigger: the row before and after.
    pub fn rows(&self) -> (Option<Row<'a>>, Option<Row<'a>>) {
        let slots = match self.operation() {
            Operation::Insert => [None, Some(self.data.tg_trigslot)],
            Operation::Delete => [Some(self.data.tg_trigslot), None],
            _ => [Some(self.data.tg_trigslot), Some(self.data.tg_newslot)],
        };
        let [old, new] = slots.map(|slot| {
            slot.filter(|slot| !slot.is_null()).map(|slot| {
                // SAFETY: a row trigger's slots hold their rows during the call; all attributes are deformed here.
                unsafe {
                    let natts = (*(*slot).tts_tupleDescriptor).natts;
                    if i32::from((*slot).tts_nvalid) < natts {
                        pg_sys::slot_getsomeattrs_int(slot, natts);
                    }
                    Row::of_slot(slot)
                }
            })
        });
        (old, new)
    }

    /// What the trigger function returns: of a BEFORE ROW trigger the row to go on with, else nothing.
    pub fn result(&self) -> pg_sys::Datum {
        let event = self.data.tg_event;
        let is_before_row = event & pg_sys::TRIGGER_EVENT_ROW != 0
            && event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE;
        if !is_before_row {
            return pg_sys::Datum::from(0usize);
        }
        match self.operation() {
            Operation::Update => pg_sys::Datum::from(self.data.tg_newtuple),
            _ => pg_sys::Datum::from(self.data.tg_trigtuple),
        }
    }

    /// A slot for the rows of its transition tables.
    pub fn new_slot(&self) -> super::slot::Slot {
        super::slot::Slot::minimal(self.relation())
    }
}

/// One call of an event trigger function.
pub struct DdlFiring<'a> {
    data: &'a pg_sys::EventTriggerData,
}

impl<'a> DdlFiring<'a> {
    /// None when the function was not called by the event trigger manager.
    ///
    /// # Safety
    /// `fcinfo` is the live argument of a C-language function.
    pub unsafe fn of_call(fcinfo: pg_sys::FunctionCallInfo) -> Option<Self> {
        // SAFETY: by the caller; the node tag is checked before the cast (CALLED_AS_EVENT_TRIGGER).
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
                return None;
            }
            Some(Self {
                data: &*context.cast::<pg_sys::EventTriggerData>(),
            })
        }
    }

    /// Event trigger functions return nothing.
    #[allow(clippy::unused_self)] // as `Firing::result`
    pub fn result(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(0usize)
    }

    /// `ddl_command_start`, `ddl_command_end`, `sql_drop`.
    pub fn event(&self) -> &'a str {
        // SAFETY: a C string set for every event trigger call.
        unsafe { CStr::from_ptr(self.data.event) }
            .to_str()
            .unwrap_or_default()
    }

    /// The command, such as `ALTER TABLE`.
    pub fn command_tag(&self) -> &'a str {
        // SAFETY: GetCommandTagName returns a static C string for every tag.
        unsafe { CStr::from_ptr(pg_sys::GetCommandTagName(self.data.tag)) }
            .to_str()
            .unwrap_or_default()
    }
}

/// Defines the C entry point of a trigger function: `trigger_function!(symbol, Firing, handler)`.
///
/// The handler is safe code that takes the firing; an error that it returns is raised, a panic becomes an ERROR.
macro_rules! trigger_function {
    ($symbol:ident, $finfo:ident, $firing:ident, $handler:path) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $finfo() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const RECORD: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &RECORD
        }

        /// Called by PostgreSQL.
        ///
        /// # Safety
        /// `fcinfo` is the live argument of a version-1 C-language function.
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $symbol(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            // SAFETY: PostgreSQL calls with a live fcinfo.
            match unsafe { $crate::pg::trigger::$firing::of_call(fcinfo) } {
                Some(firing) => {
                    $crate::error::or_raise($handler(&firing));
                    firing.result()
                }
                None => $crate::pg::trigger::not_a_trigger_call(stringify!($symbol)),
            }
        }
    };
}
pub(crate) use trigger_function;

/// Refuses a direct call.
pub fn not_a_trigger_call(function: &str) -> ! {
    use crate::error::{AttestError, SqlState};
    AttestError::new(
        SqlState::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        format!("{function} was not called by the trigger manager"),
    )
    .hint("It runs as a trigger that audit.attach() makes; do not call it.")
    .raise()
}
