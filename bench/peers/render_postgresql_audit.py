"""Prints the SQL with which the PyPI package postgresql-audit sets itself up in statement mode.

The package issues it through SQLAlchemy when a metadata object is created; here a mock engine prints it instead.
"""

import sqlalchemy
from postgresql_audit import VersioningManager
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.orm import configure_mappers, declarative_base

DIALECT = PGDialect(paramstyle="named")


def emit(statement, *_) -> None:
    """Prints one statement as the server would get it."""
    text = statement.text if isinstance(statement, sqlalchemy.TextClause) else str(statement.compile(dialect=DIALECT))
    print(text.strip().rstrip(";") + ";\n")


base = declarative_base()
VersioningManager(schema_name="postgresql_audit", use_statement_level_triggers=True).init(base)
configure_mappers()
base.metadata.create_all(sqlalchemy.create_mock_engine("postgresql://", emit), checkfirst=False)
