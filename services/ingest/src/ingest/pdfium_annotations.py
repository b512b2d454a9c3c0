"""What people have added to a page of a PDF: values of form fields, remarks. pdfium's text of the page has neither."""

from collections.abc import Callable, Iterator
from ctypes import c_ushort, sizeof
from typing import Any

import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]

_REMARKS = frozenset(
    {
        pdfium.FPDF_ANNOT_TEXT,
        pdfium.FPDF_ANNOT_FREETEXT,
        pdfium.FPDF_ANNOT_HIGHLIGHT,
        pdfium.FPDF_ANNOT_UNDERLINE,
        pdfium.FPDF_ANNOT_SQUIGGLY,
        pdfium.FPDF_ANNOT_STRIKEOUT,
        pdfium.FPDF_ANNOT_STAMP,
    }
)
_WRITTEN = frozenset({pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX})
"""Fields whose value is words; that of a box to be ticked is a name that nobody sees."""


def added_to(page: pypdfium2.PdfPage) -> list[str]:
    """A line for each, in the file's order; that of a field begins with what the field is called."""
    lines: list[str] = []
    for index in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if annotation:
            lines.extend(_lines(page, annotation))
            pdfium.FPDFPage_CloseAnnot(annotation)
    return list(dict.fromkeys(lines))


def _lines(page: pypdfium2.PdfPage, annotation: Any) -> Iterator[str]:
    kind = pdfium.FPDFAnnot_GetSubtype(annotation)
    if kind in _REMARKS:
        remark = _string(lambda *room: pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", *room))
        if remark:
            yield remark
    elif kind == pdfium.FPDF_ANNOT_WIDGET and page.formenv is not None:
        yield from _field(page.formenv.raw, annotation)


def _field(form: Any, annotation: Any) -> Iterator[str]:
    if pdfium.FPDFAnnot_GetFormFieldType(form, annotation) not in _WRITTEN:
        return
    if pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & pdfium.FPDF_FORMFLAG_TEXT_PASSWORD:
        return
    value = _string(lambda *room: pdfium.FPDFAnnot_GetFormFieldValue(form, annotation, *room))
    if value:
        name = _string(lambda *room: pdfium.FPDFAnnot_GetFormFieldAlternateName(form, annotation, *room)) or _string(
            lambda *room: pdfium.FPDFAnnot_GetFormFieldName(form, annotation, *room)
        )
        yield f"{name}: {value}" if name else value


def _string(read: Callable[..., int]) -> str:
    """pdfium is asked for the size in bytes first, the closing NUL included; then it fills as much room with UTF-16."""
    size = read(None, 0)
    if size <= sizeof(c_ushort):
        return ""
    room = (c_ushort * (size // sizeof(c_ushort)))()
    read(room, size)
    return bytes(room).decode("utf-16-le", errors="surrogatepass").rstrip("\0").strip()
