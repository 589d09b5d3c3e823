"""Results as data: dictionaries for JSON, data frames, HTML for notebooks."""

import html
import math
from typing import Any


class Result:
    """What the results of tfgates share; each defines its content in `to_dict` and `records`."""

    def to_dict(self) -> dict[str, Any]:
        """All of it as dictionaries, lists, strings, numbers and None, as `json.dumps` takes them."""
        raise NotImplementedError

    def records(self) -> list[dict[str, Any]]:
        """Its table, a dictionary for each row."""
        raise NotImplementedError

    def remarks(self) -> dict[str, list[tuple[str, str]]]:
        """What is shown below the table: by title, pairs of a name and a text."""
        return {}

    def to_pandas(self) -> Any:
        """Its table as a `pandas.DataFrame`.

        Raises:
            ImportError: without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("`to_pandas` needs pandas: pip install pandas") from error
        return pandas.DataFrame(self.records())

    def _repr_html_(self) -> str:
        """What notebooks show."""
        records = self.records()
        names = list(records[0]) if records else []
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
        body = "".join("<tr>" + "".join(_cell(record[name]) for name in names) + "</tr>" for record in records)
        lists = "".join(
            f"<p>{html.escape(title)}:</p><ul>"
            + "".join(f"<li>{html.escape(name)}: {html.escape(text)}</li>" for name, text in pairs)
            + "</ul>"
            for title, pairs in self.remarks().items()
            if pairs
        )
        return f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lists}</div>"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f'<td style="text-align: left">{html.escape("" if value is None else str(value))}</td>'
    text = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.4g}"
    return f'<td style="text-align: right">{text}</td>'


def number(value: Any) -> int | float | None:
    """A number that JSON knows: an int where it is one, None where it is not finite, as MACs of unknown sizes are."""
    value = float(value)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value
