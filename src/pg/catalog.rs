//! Catalog look-ups by OID, through the syscache.

use super::relation::lock;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// The OID of a schema, None when there is none of this name.
pub fn namespace_oid(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a valid C string; `true`: missing is fine.
    let oid = unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// A schema's name.
pub fn namespace_name(oid: pg_sys::Oid) -> String {
    // SAFETY: returns NULL or a palloc'd string.
    unsafe { owned(pg_sys::get_namespace_name(oid)) }.unwrap_or_default()
}

/// The OID of a relation in a schema.
pub fn relation_oid(namespace: pg_sys::Oid, name: &str) -> Option<pg_sys::Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: a valid C string.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), namespace) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The OID of a relation in the schema audit.
pub fn audit_relation(name: &str) -> Option<pg_sys::Oid> {
    relation_oid(namespace_oid(c"audit")?, name)
}

/// Whether the current role owns the relation (or is a superuser).
pub fn owns_relation(oid: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-up; pg_class_ownercheck became object_ownercheck in 16.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            pg_sys::pg_class_ownercheck(oid, pg_sys::GetUserId())
        }
        #[cfg(not(feature = "pg15"))]
        {
            pg_sys::object_ownercheck(pg_sys::RelationRelationId, oid, pg_sys::GetUserId())
        }
    }
}

/// Whether the current role owns the schema (or is a superuser).
pub fn owns_namespace(oid: pg_sys::Oid) -> bool {
    // SAFETY: as above.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            pg_sys::pg_namespace_ownercheck(oid, pg_sys::GetUserId())
        }
        #[cfg(not(feature = "pg15"))]
        {
            pg_sys::object_ownercheck(pg_sys::NamespaceRelationId, oid, pg_sys::GetUserId())
        }
    }
}

/// Whether the function is compiled code (language internal or C), which only a superuser can have made.
pub fn is_compiled_function(oid: pg_sys::Oid) -> bool {
    /// `src/include/catalog/pg_language.dat`
    const INTERNAL: u32 = 12;
    const C: u32 = 13;
    // SAFETY: a syscache tuple is valid until it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            pg_sys::Datum::from(oid),
        );
        if tuple.is_null() {
            return false;
        }
        let language = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>())
            .prolang
            .to_u32();
        pg_sys::ReleaseSysCache(tuple);
        language == INTERNAL || language == C
    }
}

/// The partitioned tables above a partition, nearest first; empty for other tables.
pub fn partition_ancestors(oid: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: the list is ours to free.
    unsafe { take_oids(super::ffi::get_partition_ancestors(oid)) }
}

/// The relation itself and everything below it: partitions or inheritance children, at any depth. Takes the lock on each.
pub fn inheritors(oid: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> Vec<pg_sys::Oid> {
    // SAFETY: the list is ours to free.
    unsafe {
        take_oids(super::ffi::find_all_inheritors(
            oid,
            lock,
            std::ptr::null_mut(),
        ))
    }
}

/// # Safety
/// `list` is NIL or an OID list that nobody else holds.
pub(in crate::pg) unsafe fn take_oids(list: *mut pg_sys::List) -> Vec<pg_sys::Oid> {
    // SAFETY: by the caller; list_free takes NIL.
    unsafe {
        let oids = cells(list).iter().map(|cell| cell.oid_value).collect();
        pg_sys::list_free(list);
        oids
    }
}

/// The cells of a list.
///
/// # Safety
/// `list` is NIL, or lives as long as `'a`.
pub(in crate::pg) unsafe fn cells<'a>(list: *const pg_sys::List) -> &'a [pg_sys::ListCell] {
    if list.is_null() {
        return &[];
    }
    // SAFETY: by the caller; `length` elements are valid.
    unsafe { std::slice::from_raw_parts((*list).elements, (*list).length as usize) }
}

/// # Safety
/// NULL or a palloc'd C string.
unsafe fn owned(text: *mut std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: by the caller.
    Some(unsafe { CStr::from_ptr(text).to_string_lossy().into_owned() })
}

/// A table's schema-qualified, quoted name, for SQL and messages; empty when it is gone.
pub fn qualified_name(oid: pg_sys::Oid) -> String {
    // SAFETY: look-ups by OID; quote_qualified_identifier returns a palloc'd string.
    unsafe {
        let name = pg_sys::get_rel_name(oid);
        let namespace = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid));
        if name.is_null() || namespace.is_null() {
            return String::new();
        }
        owned(pg_sys::quote_qualified_identifier(namespace, name)).unwrap_or_default()
    }
}

/// Quotes an identifier where SQL needs it.
pub fn quote_identifier(name: &str) -> String {
    let Ok(c_name) = CString::new(name) else {
        return String::new();
    };
    // SAFETY: quote_identifier returns its argument or a palloc'd string.
    unsafe {
        CStr::from_ptr(pg_sys::quote_identifier(c_name.as_ptr()))
            .to_string_lossy()
            .into_owned()
    }
}

/// The tables above in a legacy inheritance tree, nearest first; empty for other tables.
pub fn inheritance_ancestors(oid: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    let mut next = vec![oid];
    while let Some(child) = next.pop() {
        for parent in inheritance_parents(child) {
            if !found.contains(&parent) {
                found.push(parent);
                next.push(parent);
            }
        }
    }
    found
}

/// A table's direct parents, by `pg_inherits`.
fn inheritance_parents(child: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // `src/include/catalog/pg_inherits.h`
    const INHERITS: u32 = 2611;
    const INHERITS_BY_RELID: u32 = 2680;
    const ANUM_INHRELID: pg_sys::AttrNumber = 1;
    #[repr(C)]
    struct Inherits {
        relation: pg_sys::Oid,
        parent: pg_sys::Oid,
    }
    let mut parents = Vec::new();
    // SAFETY: an index scan on the catalog as PostgreSQL's own code does it; tuples are valid until the next fetch.
    unsafe {
        let catalog = pg_sys::table_open(INHERITS.into(), lock::ACCESS_SHARE);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &raw mut key,
            ANUM_INHRELID,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_OIDEQ.into(),
            pg_sys::Datum::from(child),
        );
        let scan = pg_sys::systable_beginscan(
            catalog,
            INHERITS_BY_RELID.into(),
            true,
            std::ptr::null_mut(),
            1,
            &raw mut key,
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            parents.push((*pg_sys::GETSTRUCT(tuple).cast::<Inherits>()).parent);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock::ACCESS_SHARE);
    }
    parents
}

/// The OID of an enum type's label.
pub fn enum_label_oid(
    namespace: pg_sys::Oid,
    type_name: &CStr,
    label: &str,
) -> Option<pg_sys::Oid> {
    let label = CString::new(label).ok()?;
    // SAFETY: syscache look-ups with C strings; the tuple is released.
    unsafe {
        let enum_type = pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            1, // Anum_pg_type_oid
            pg_sys::Datum::from(type_name.as_ptr()),
            pg_sys::Datum::from(namespace),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
        );
        let tuple = pg_sys::SearchSysCache2(
            pg_sys::SysCacheIdentifier::ENUMTYPOIDNAME as i32,
            pg_sys::Datum::from(enum_type),
            pg_sys::Datum::from(label.as_ptr()),
        );
        if tuple.is_null() {
            return None;
        }
        let oid = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_enum>()).oid;
        pg_sys::ReleaseSysCache(tuple);
        Some(oid)
    }
}

/// The label of an enum's value.
pub fn enum_label(oid: pg_sys::Oid) -> Option<String> {
    // SAFETY: a syscache tuple is valid until it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::ENUMOID as i32,
            pg_sys::Datum::from(oid),
        );
        if tuple.is_null() {
            return None;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_enum>();
        let label = CStr::from_ptr((*form).enumlabel.data.as_ptr())
            .to_string_lossy()
            .into_owned();
        pg_sys::ReleaseSysCache(tuple);
        Some(label)
    }
}

/// The names of the columns in the partition keys of a partitioned table and of its partitioned partitions. Expressions in a
/// partition key are left out.
pub fn partition_key_columns(root: pg_sys::Oid) -> Vec<Vec<u8>> {
    // `src/include/catalog/pg_partitioned_table.h`
    const ANUM_PARTATTRS: pg_sys::AttrNumber = 5;
    let mut names = Vec::new();
    for oid in inheritors(root, lock::ACCESS_SHARE) {
        // SAFETY: a syscache tuple is valid until it is released; partattrs is an int2vector that is never null; get_attname
        // with missing_ok returns NULL or a palloc'd string.
        unsafe {
            let cache = pg_sys::SysCacheIdentifier::PARTRELID as i32;
            let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(oid));
            if tuple.is_null() {
                continue;
            }
            let mut is_null = false;
            let attributes =
                pg_sys::SysCacheGetAttr(cache, tuple, ANUM_PARTATTRS, &raw mut is_null);
            let attributes = attributes.cast_mut_ptr::<pg_sys::int2vector>();
            for attnum in (*attributes).values.as_slice((*attributes).dim1 as usize) {
                let name = pg_sys::get_attname(oid, *attnum, true);
                if !name.is_null() {
                    names.push(CStr::from_ptr(name).to_bytes().to_vec());
                }
            }
            pg_sys::ReleaseSysCache(tuple);
        }
    }
    names
}

/// A type's name, with its schema unless that is `pg_catalog`, unquoted, an array's as `element[]`; its OID when it is gone.
pub fn type_name(oid: pg_sys::Oid) -> String {
    // SAFETY: catalog look-up by OID.
    let element = unsafe { pg_sys::get_element_type(oid) };
    if element != pg_sys::InvalidOid {
        return format!("{}[]", type_name(element));
    }
    // SAFETY: a syscache tuple is valid until it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::TYPEOID as i32,
            pg_sys::Datum::from(oid),
        );
        if tuple.is_null() {
            return oid.to_u32().to_string();
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>();
        let name = CStr::from_ptr((*form).typname.data.as_ptr())
            .to_string_lossy()
            .into_owned();
        let namespace = (*form).typnamespace;
        pg_sys::ReleaseSysCache(tuple);
        match namespace_name(namespace).as_str() {
            "pg_catalog" => name,
            schema => format!("{schema}.{name}"),
        }
    }
}

/// Whether the relation is unlogged.
pub fn is_unlogged(relation: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-up by OID.
    unsafe { pg_sys::get_rel_persistence(relation) as u8 == pg_sys::RELPERSISTENCE_UNLOGGED }
}

/// Whether a foreign table stands anywhere below the relation.
pub fn has_foreign_table(tree: &[pg_sys::Oid]) -> Option<pg_sys::Oid> {
    // SAFETY: catalog look-up by OID.
    tree.iter()
        .copied()
        .find(|oid| unsafe { pg_sys::get_rel_relkind(*oid) } as u8 == pg_sys::RELKIND_FOREIGN_TABLE)
}

const TABLES_OF_TREE: [&str; 6] = [
    "epochs",
    "checkpoints",
    "tiles",
    "tree_edge",
    "checkpoint_signatures",
    "checkpoint_timestamps",
];

/// Whether the relation is one of the log's: `audit.audit_events`, made as one of its partitions, or of its tree.
pub fn is_table_of_log(relation: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by OID; get_rel_name returns NULL or a palloc'd string.
    unsafe {
        let kind = pg_sys::get_rel_relkind(relation) as u8;
        if kind != pg_sys::RELKIND_RELATION && kind != pg_sys::RELKIND_PARTITIONED_TABLE {
            return false;
        }
        namespace_oid(c"audit") == Some(pg_sys::get_rel_namespace(relation))
            && owned(pg_sys::get_rel_name(relation)).is_some_and(|name| {
                name.starts_with("audit_events") || TABLES_OF_TREE.contains(&name.as_str())
            })
    }
}
