"""What a program must know of tables, and what of them may refuse what it does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, inspect, text


@dataclass(frozen=True)
class Rule:
    """What may refuse a row, or a call."""

    table: str
    told: str
    columns: frozenset[str] = frozenset()


# Not-null is told by the shapes of columns, and unique constraints by their indexes.
_CONSTRAINTS = text("""
    SELECT conrelid::regclass::text AS "table", pg_get_constraintdef(pg_constraint.oid) AS told,
        ARRAY(SELECT attname::text FROM pg_attribute
            WHERE attrelid = conrelid AND attnum = ANY(conkey)) AS columns
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'x')
""")
_POLICIES = text("""
    SELECT tablename AS "table", concat_ws(' ', permissive, cmd, roles, qual, with_check) AS told
    FROM pg_policies WHERE schemaname = 'public'
""")
_WALLED = text("""
    SELECT relname AS "table", 'row security' || repeat(' for all', relforcerowsecurity::int)
        AS told
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity
""")
_FOUND_IN_THE_WALL = text("""
    SELECT relname AS "table", 'view' AS told FROM pg_class
    WHERE relnamespace = to_regnamespace('wall') AND relkind = 'v'
    UNION ALL
    SELECT proname, pg_get_function_arguments(oid) || ': ' || pg_get_function_result(oid)
    FROM pg_proc WHERE pronamespace = to_regnamespace('wall')
""")


_FILES = text("""
    SELECT relname, pg_relation_filenode(oid) AS file FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
""")
_DEFINITIONS = text("""
    WITH ours AS (
        SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'wall')
    ), tables AS (
        SELECT pg_class.oid, relname FROM pg_class JOIN ours ON relnamespace = ours.oid
    )
    SELECT relname AS "of", concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
            attidentity, attgenerated, pg_get_expr(adbin, adrelid)) AS told
    FROM tables JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    UNION ALL
    SELECT relname, concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid)
    FROM tables JOIN pg_index ON indrelid = oid
    UNION ALL
    SELECT relname, pg_get_constraintdef(pg_constraint.oid)
    FROM tables JOIN pg_constraint ON conrelid = tables.oid
    UNION ALL
    SELECT relname, pg_get_triggerdef(pg_trigger.oid)
    FROM tables JOIN pg_trigger ON tgrelid = tables.oid AND NOT tgisinternal
    UNION ALL
    SELECT viewname, definition FROM pg_views WHERE schemaname IN ('public', 'wall')
    UNION ALL
    SELECT proname, pg_get_functiondef(pg_proc.oid)
    FROM pg_proc JOIN ours ON pronamespace = ours.oid
    UNION ALL
    SELECT tablename, concat_ws(' ', policyname, qual, with_check) FROM pg_policies
""")


def definitions(database: Engine) -> set[tuple[str, str]]:
    """All that makes up the schema: what it belongs to, and how it is defined."""
    with database.connect() as connection:
        return {(row.of, row.told) for row in connection.execute(_DEFINITIONS)}


def files(database: Engine) -> dict[str, int]:
    """In which file each table lies: another one once it was written anew."""
    with database.connect() as connection:
        return {row.relname: row.file for row in connection.execute(_FILES)}


@dataclass(frozen=True)
class Rules:
    """All that a release may have to obey beside the shapes of columns, and what it calls."""

    constraints: set[Rule]
    policies: set[Rule]
    walled: set[Rule]
    callable: set[Rule]

    def refuse(self, before: "Rules", columns: Mapping[str, Collection[str]]) -> set[Rule]:
        """The rules that are new to a release that knows those before, and these columns."""
        found = {
            rule
            for rule in self.constraints - before.constraints
            # One that is about new columns alone finds what they hold where they are left out.
            if rule.columns & set(columns.get(rule.table, ()))
        }
        if before.walled:
            # Nobody asks as a role behind a wall before there is one.
            old = {rule for rule in self.walled | self.policies if rule.table in columns}
            found |= old ^ (before.walled | before.policies)
        return found | (before.callable - self.callable)


def rules(database: Engine) -> Rules:
    with database.connect() as connection:

        def found(statement) -> set[Rule]:
            return {
                Rule(row.table, row.told, frozenset(getattr(row, "columns", ())))
                for row in connection.execute(statement)
            }

        return Rules(*map(found, (_CONSTRAINTS, _POLICIES, _WALLED, _FOUND_IN_THE_WALL)))


@dataclass(frozen=True)
class Shape:
    """What a program must know of a column."""

    type: str
    may_be_left_out: bool


def tables_of(database: Engine) -> set[str]:
    return set(inspect(database).get_table_names()) - {"alembic_version"}


def uniques(database: Engine) -> dict[str, set[tuple[str, ...]]]:
    """The columns of each table that no two rows may have in common."""
    inspector = inspect(database)
    return {
        name: {
            tuple(column for column in index["column_names"] if column)
            for index in inspector.get_indexes(name)
            if index["unique"]
        }
        for name in tables_of(database)
    }


def shapes(database: Engine) -> dict[str, dict[str, Shape]]:
    inspector = inspect(database)
    return {
        name: {
            column["name"]: Shape(
                str(column["type"]),
                column["nullable"] or column["default"] is not None or "identity" in column,
            )
            for column in inspector.get_columns(name)
        }
        for name in tables_of(database)
    }
