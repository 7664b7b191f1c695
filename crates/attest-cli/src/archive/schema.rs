//! What the columns are in Parquet: docs/archive.md, "Columns".

use super::columns::{COLUMNS, Column, Kind};
use anyhow::Result;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::{Type, TypePtr};
use std::sync::Arc;

impl Column {
    fn parquet(&self) -> Result<Type> {
        let repetition = if self.required {
            Repetition::REQUIRED
        } else {
            Repetition::OPTIONAL
        };
        let primitive = |name, physical, logical| {
            Type::primitive_type_builder(name, physical)
                .with_logical_type(logical)
                .with_repetition(repetition)
                .build()
        };
        let (name, bytes) = (self.name, Physical::BYTE_ARRAY);
        let time = LogicalType::timestamp(true, TimeUnit::MICROS);
        Ok(match self.kind {
            Kind::Long | Kind::Oid => primitive(name, Physical::INT64, None)?,
            Kind::Time => primitive(name, Physical::INT64, Some(time))?,
            Kind::Int => primitive(name, Physical::INT32, None)?,
            Kind::Text | Kind::Address => primitive(name, bytes, Some(LogicalType::String))?,
            Kind::Json => primitive(name, bytes, Some(LogicalType::Json))?,
            Kind::Bytes => primitive(name, bytes, None)?,
            Kind::List => {
                let element = primitive("element", bytes, Some(LogicalType::String))?;
                let list = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![Arc::new(element)])
                    .build()?;
                Type::group_type_builder(name)
                    .with_logical_type(Some(LogicalType::List))
                    .with_repetition(repetition)
                    .with_fields(vec![Arc::new(list)])
                    .build()?
            }
        })
    }
}

/// The schema of an archive's files.
pub fn schema() -> Result<TypePtr> {
    let fields = COLUMNS
        .iter()
        .map(|column| column.parquet().map(Arc::new))
        .collect::<Result<_>>()?;
    let schema = Type::group_type_builder("audit_events")
        .with_fields(fields)
        .build()?;
    Ok(Arc::new(schema))
}
