//! Which partition takes a timestamp, read from the parent's own partition descriptor.
//!
//! Follows `get_partition_for_tuple` of `src/backend/executor/execPartition.c` for one range column of type timestamptz.

use super::relation::RelationRef;
use pgrx::pg_sys;
use std::cmp::Ordering;
use std::ops::Range;

/// The OID of the partition for `timestamp` (microseconds since 2000-01-01), the default partition's where no range takes
/// it; None when there is neither.
pub fn for_timestamp(parent: RelationRef<'_>, timestamp: i64) -> Option<pg_sys::Oid> {
    // SAFETY: the parent is open and partitioned by range on one timestamptz column, as the schema script makes it. The
    // descriptor stays valid while it is open. `true`: partitions being detached concurrently take no new rows.
    unsafe {
        let descriptor = pg_sys::RelationGetPartitionDesc(parent.raw(), true);
        if (*descriptor).nparts == 0 {
            return None;
        }
        let bounds = (*descriptor).boundinfo;
        // The last bound that is not above the timestamp; the range that begins there has the next index.
        let mut low = 0usize;
        let mut high = usize::try_from((*bounds).ndatums).ok()?;
        while low < high {
            let middle = usize::midpoint(low, high);
            if compare(bounds, middle, timestamp) == Ordering::Greater {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let mut index = *(*bounds).indexes.add(low);
        if index < 0 {
            index = (*bounds).default_index;
        }
        let index = usize::try_from(index).ok()?;
        Some(*(*descriptor).oids.add(index))
    }
}

/// Compares a range bound with the timestamp.
///
/// # Safety
/// `bounds` are range bounds on one timestamptz column, and `index` is below `ndatums`.
unsafe fn compare(bounds: pg_sys::PartitionBoundInfo, index: usize, timestamp: i64) -> Ordering {
    // SAFETY: by the caller.
    unsafe {
        match **(*bounds).kind.add(index) {
            pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => Ordering::Less,
            pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MAXVALUE => Ordering::Greater,
            _ => self::bound(bounds, index).cmp(&timestamp),
        }
    }
}

/// The partitions with a range of their own, each with its bounds: from the first one on, up to but not including the second
/// (microseconds since 2000-01-01).
pub fn ranges(parent: RelationRef<'_>) -> Vec<(pg_sys::Oid, Range<i64>)> {
    let mut found = Vec::new();
    // SAFETY: as in `for_timestamp`. Behind each bound, and before the first one, begins a range; `indexes` has one entry more
    // than there are bounds: the partition of the range that ends there, or -1.
    unsafe {
        let descriptor = pg_sys::RelationGetPartitionDesc(parent.raw(), true);
        if (*descriptor).nparts == 0 {
            return found;
        }
        let bounds = (*descriptor).boundinfo;
        let count = usize::try_from((*bounds).ndatums).unwrap_or(0);
        let mut from = i64::MIN;
        for position in 0..=count {
            let to = if position < count {
                bound(bounds, position)
            } else {
                i64::MAX
            };
            let index = *(*bounds).indexes.add(position);
            if let Ok(index) = usize::try_from(index) {
                found.push((*(*descriptor).oids.add(index), from..to));
            }
            from = to;
        }
    }
    found
}

/// A range bound as a timestamp.
///
/// # Safety
/// As for [`compare`].
unsafe fn bound(bounds: pg_sys::PartitionBoundInfo, index: usize) -> i64 {
    // SAFETY: by the caller.
    unsafe {
        match **(*bounds).kind.add(index) {
            pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => i64::MIN,
            pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MAXVALUE => i64::MAX,
            _ => (**(*bounds).datums.add(index)).value() as i64,
        }
    }
}

/// The OIDs of the parent's partitions, those in detachment left out.
pub fn all(parent: RelationRef<'_>) -> Vec<pg_sys::Oid> {
    // SAFETY: the parent is open; its descriptor has nparts OIDs.
    unsafe {
        let descriptor = pg_sys::RelationGetPartitionDesc(parent.raw(), true);
        let count = usize::try_from((*descriptor).nparts).unwrap_or(0);
        if count == 0 {
            return Vec::new();
        }
        std::slice::from_raw_parts((*descriptor).oids, count).to_vec()
    }
}
