"""The ways in which a document may spell what a question asks for.

PostgreSQL reads `2,318` as two words, `ERR-4711` as `err` and the number -4711 where `ERR4711` is one word, `v2.4.0` as
a word that `2.4.0` is not, and an accent that stands beside its letter (NFD) as another letter.
"""

import re
from unicodedata import normalize

# Thousands as people write them: 2,318 and 2.318 and 2'318, with whatever space does not break a line.
_GROUPED = re.compile(r"(?<![\w.,'’])[1-9]\d{0,2}(?:([,.'’\u00a0\u202f])\d{3})(?:\1\d{3})*(?![\w'’]|[.,]\d)")
# A part's number, between whose letters and digits a document may have a hyphen or a space.
_CODE = "^([a-z]{1,4})([0-9]{3,})$"
_YEARS = range(1900, 2101)
"""Nobody groups their digits, and questions are full of them."""


def as_searched(question: str) -> str:
    """The question with composed letters, and with its numbers in one piece."""
    return _GROUPED.sub(_in_one_piece, normalize("NFC", question))


def _in_one_piece(grouped: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", grouped[0])
    return grouped[0] if int(digits) in _YEARS else digits


def spellings(stem: str) -> str:
    """SQL: from a stem, which the given SQL names, to the `tsquery` (as text) that finds each of its spellings."""
    digits = f"ltrim({stem}, '-')"
    thousands = f"to_char({digits}::numeric, 'FM999,999,999,999,999')"
    plain = f"normalize({stem}, NFD)"
    return rf"""
        (SELECT string_agg(DISTINCT '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')
         FROM unnest({stem} || CASE
            WHEN {stem} ~ '^-?\d+$' THEN ARRAY[{digits}, '-' || {digits}]
            WHEN {stem} ~ '^v?\d+(\.\d+)+$' THEN ARRAY[ltrim({stem}, 'v'), 'v' || ltrim({stem}, 'v')]
            WHEN octet_length({stem}) > length({stem})
                THEN ARRAY[{plain}, regexp_replace({plain}, '[\u0300-\u036f]', '', 'g')]
            ELSE '{{}}'::text[] END) AS lexeme)
        || CASE WHEN {stem} ~ '^-?[1-9]\d{{3,14}}$' AND {digits}::numeric NOT BETWEEN {_YEARS[0]} AND {_YEARS[-1]}
            THEN ' | ''' || replace({thousands}, ',', '.')
                || ''' | ''' || replace({thousands}, ',', ''' <-> ''') || ''''
            WHEN {stem} ~ '{_CODE}' THEN regexp_replace({stem}, '{_CODE}',
                ' | ''\1'' <-> (''\2'' | ''-\2'')')
            ELSE '' END
    """  # noqa: S608 - the caller's own SQL
