"""How labels form in Flink SQL: at the window's end, or after each action. Knows no topic and no sample's columns."""

from larix.data.join.flink_columns import interval, literal, quoted, sortable
from larix.data.join.spec import IMPRESSION, Clicked, Form, JoinSpec, Total


def label(name: str) -> str:
    """The column of a label in the views, beside which there are others."""
    return _named("label", name)


def at_the_end(spec: JoinSpec) -> str:
    """The view ``labelled``: accepted impressions whose window has passed, and their labels, from the view ``accepted``."""
    parts = [part for name, form in spec.labels.items() for part in _gathered(spec, name, form)]
    formed = [f"{_formed(spec, name, form)} AS {label(name)}" for name, form in spec.labels.items()]
    gathered = ",\n".join(f"  {expression} OVER `since` AS {name}" for name, expression in parts)
    return (
        "-- An impression's row is due when its window has passed, an action's at its time: looking back from the due\n"
        "-- time by the window, an impression sees exactly its own actions. Rows are taken in order of due time.\n"
        "CREATE TEMPORARY VIEW `gathered` AS\n"
        f"SELECT `kind`, `k`, `id`, `at`, `shown`,\n{gathered}\nFROM `accepted`\n"
        f"WINDOW `since` AS (\n  {_looking_back(spec)}\n);\n\n"
        "CREATE TEMPORARY VIEW `labelled` AS\n"
        "SELECT `k`, `id`, `at`, `shown`,\n  " + ",\n  ".join(formed) + "\n"
        f"FROM `gathered` WHERE `kind` = {literal(IMPRESSION)};"
    )


def corrections(spec: JoinSpec, shown: str) -> str:
    """The view ``corrected``: a row for each action that changes a label of an impression, from the view ``accepted``.

    ``ready`` is when it acted; a label is null where it did not change.

    Args:
        spec: the join.
        shown: the type of the column ``shown``, which carries an impression's features.
    """
    order = " ".join(f"WHEN {literal(each.name)} THEN {n}" for n, each in enumerate(spec.actions))
    parts = (
        _IN_TURN.format(impression=literal(IMPRESSION), order=order),
        _MET.format(impression=literal(IMPRESSION), shown=shown, back=_looking_back(spec)),
        _changed(spec),
    )
    return "\n\n".join(parts)


_IN_TURN = """\
-- Actions in the order of their times, and of those of a millisecond by event id, then as they are declared. What comes
-- out in order stays so: all rows of a key, and then of an impression, go through one channel to one task.
CREATE TEMPORARY VIEW `acted` AS
SELECT `kind`, `k`, `id`, `at`, `amount`, CASE `kind` {order} END AS `nth`, `due`
FROM `accepted` WHERE `kind` <> {impression};

CREATE TEMPORARY VIEW `in_turn` AS
SELECT `kind`, `k`, `id`, `at`, `amount`, `window_time` AS `due`
FROM (
  SELECT *, ROW_NUMBER() OVER (
    PARTITION BY `window_start`, `window_end`, `k` ORDER BY `id`, `nth`
  ) AS `turn`
  FROM TABLE(TUMBLE(TABLE `acted`, DESCRIPTOR(`due`), INTERVAL '0.001' SECOND))
) WHERE `turn` <= 2147483647;"""

_MET = """\
-- Looking back from an action by the window, it sees exactly the impressions that it belongs to.
CREATE TEMPORARY VIEW `looked_back` AS
SELECT `kind`, `k`, `at`, `amount`,
  ARRAY_AGG(CASE WHEN `kind` = {impression} THEN ROW(`at`, `id`, `shown`) END) IGNORE NULLS
    OVER `since` AS `impressions`
FROM (
  SELECT `kind`, `k`, `id`, `at`, `amount`, `shown`, `due` FROM `accepted` WHERE `kind` = {impression}
  UNION ALL SELECT `kind`, `k`, `id`, `at`, `amount`, CAST(NULL AS {shown}), `due` FROM `in_turn`
)
WINDOW `since` AS (
  {back}
);

CREATE TEMPORARY VIEW `met` AS
SELECT `l`.`kind`, `l`.`k`, `l`.`amount`, `l`.`at` AS `ready`, `i`.`at`, `i`.`id`, `i`.`shown`, PROCTIME() AS `met`
FROM `looked_back` AS `l` CROSS JOIN UNNEST(`l`.`impressions`) AS `i` (`at`, `id`, `shown`)
WHERE `l`.`kind` <> {impression};"""


def _changed(spec: JoinSpec) -> str:
    so_far = ",\n".join(
        f"  {_so_far(form)} OVER `so_far` AS {label(name)}" for name, form in spec.labels.items()
    )
    befores = ",\n".join(
        f"  COALESCE(LAG({label(name)}) OVER `so_far`, 0e0) AS {_named('before', name)}"
        for name in spec.labels
    )
    differs = {name: f"{label(name)} <> {_named('before', name)}" for name in spec.labels}
    changed = ",\n".join(
        f"  CASE WHEN {said} THEN {label(name)} END AS {label(name)}" for name, said in differs.items()
    )
    so = "PARTITION BY `k`, `at`, `id` ORDER BY `met`"
    return (
        "-- An impression's labels after each of its actions, beside those before it: a correction says what differs.\n"
        "CREATE TEMPORARY VIEW `after` AS\n"
        f"SELECT `k`, `id`, `at`, `shown`, `ready`, `met`,\n{so_far}\nFROM `met`\n"
        f"WINDOW `so_far` AS (\n  {so} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW\n);\n\n"
        "CREATE TEMPORARY VIEW `before_and_after` AS\n"
        f"SELECT *,\n{befores}\nFROM `after` WINDOW `so_far` AS ({so});\n\n"
        "CREATE TEMPORARY VIEW `corrected` AS\n"
        f"SELECT `k`, `id`, `at`, `shown`, `ready`,\n{changed}\n"
        f"FROM `before_and_after` WHERE {' OR '.join(differs.values())};"
    )


def _so_far(form: Form) -> str:
    """A label after the actions so far, a DOUBLE: an aggregate over them, in order."""
    if isinstance(form, Clicked):
        return f"MAX(CASE WHEN `kind` = {literal(form.action)} THEN 1e0 ELSE 0e0 END)"
    if isinstance(form, Total):
        return f"SUM(CASE WHEN `kind` = {literal(form.action)} THEN `amount` ELSE 0e0 END)"
    # The last that is not null.
    return f"LAST_VALUE(CASE `kind` WHEN {literal(form.on)} THEN 1e0 WHEN {literal(form.off)} THEN 0e0 END)"


def _gathered(spec: JoinSpec, name: str, form: Form) -> list[tuple[str, str]]:
    """What is counted or summed for a label: names and aggregates."""
    if isinstance(form, Clicked):
        return [(label(name), f"COUNT(CASE WHEN `kind` = {literal(form.action)} THEN 1 END)")]
    if isinstance(form, Total):
        return [(label(name), f"SUM(CASE WHEN `kind` = {literal(form.action)} THEN `amount` END)")]
    last = f"LPAD(CAST(`at` AS STRING), 19, '0') || {sortable('`id`', spec.ids)}"
    return [
        (_named(way, name), f"MAX(CASE WHEN `kind` = {literal(action)} THEN {last} END)")
        for way, action in (("on", form.on), ("off", form.off))
    ]


def _formed(spec: JoinSpec, name: str, form: Form) -> str:
    """A label's value, a DOUBLE."""
    if isinstance(form, Clicked):
        return f"CASE WHEN {label(name)} > 0 THEN 1e0 ELSE 0e0 END"
    if isinstance(form, Total):
        return f"COALESCE({label(name)}, 0e0)"
    # Of two at one time with one id, the one whose action is declared later is the last.
    order = [*spec.kinds]
    over = ">=" if order.index(form.on) > order.index(form.off) else ">"
    on, off = _named("on", name), _named("off", name)
    return f"CASE WHEN {on} IS NOT NULL AND ({off} IS NULL OR {on} {over} {off}) THEN 1e0 ELSE 0e0 END"


def _looking_back(spec: JoinSpec) -> str:
    return (
        "PARTITION BY `k` ORDER BY `due`\n"
        f"  RANGE BETWEEN {interval(spec.window_ms)} PRECEDING AND CURRENT ROW"
    )


def _named(what: str, name: str) -> str:
    return quoted(f"{what} {name}")
