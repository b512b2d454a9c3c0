"""An annual report as a listed company files it: prose and tables, page after page, the same for the same seed."""

import random
from collections.abc import Callable, Iterator
from functools import cache

from tests.samples.drawing import Block, Heading, Paragraph, Table, draw
from tests.samples.handbook import Fact

COMPANY = "Norhaven Instruments, Inc."
TITLE = f"{COMPANY} - Annual Report on Form 10-K"
PAGES = 76
FISCAL_YEAR = 2024

ITEMS = (
    "Item 1. Business",
    "Item 1A. Risk Factors",
    "Item 1C. Cybersecurity",
    "Item 2. Properties",
    "Item 3. Legal Proceedings",
    "Item 5. Market for the Registrant's Common Equity",
    "Item 7. Management's Discussion and Analysis",
    "Item 7A. Quantitative and Qualitative Disclosures about Market Risk",
    "Item 8. Financial Statements and Supplementary Data",
    "Notes to Consolidated Financial Statements",
    "Item 9A. Controls and Procedures",
    "Item 15. Exhibits and Financial Statement Schedules",
)

PLANTED = (
    (
        3,
        "The Company's headquarters are located at 400 Mercator Way in Duluth, Minnesota.",
        "Where are the Company's headquarters located?",
        "400 Mercator Way",
    ),
    (
        17,
        "A single customer, Halvorsen Medical Group, accounted for 11.4% of net revenue in fiscal 2024.",
        "Which customer accounted for 11.4% of net revenue?",
        "Halvorsen Medical Group",
    ),
    (
        29,
        "The lease of the Rotterdam distribution centre expires on August 31, 2031.",
        "When does the lease of the Rotterdam distribution centre expire?",
        "August 31, 2031",
    ),
    (
        44,
        "Research and development expense was $218.7 million in fiscal 2024.",
        "What was research and development expense in fiscal 2024?",
        "$218.7 million",
    ),
    (
        58,
        "The revolving credit facility bears interest at the secured overnight rate plus 1.35%.",
        "At which rate does the revolving credit facility bear interest?",
        "1.35%",
    ),
    (
        71,
        "Perrin & Whitlock LLP has served as the Company's auditor since 2009.",
        "Since when has Perrin & Whitlock LLP served as the Company's auditor?",
        "2009",
    ),
)

FACTS = tuple(Fact(page, question, answer) for page, _, question, answer in PLANTED)

_SEGMENTS = ("Imaging", "Laboratory Systems", "Field Services", "Precision Optics", "Diagnostics Software")
_REGIONS = ("North America", "Western Europe", "the Nordic countries", "Japan", "Southeast Asia", "Latin America")
_METRICS = ("Net revenue", "Gross profit", "Operating income", "Backlog", "Order intake", "Service revenue")
_CAUSES = (
    "higher volumes of replacement parts",
    "the timing of shipments to public hospitals",
    "unfavourable foreign currency translation",
    "price increases that took effect in the second quarter",
    "lower freight cost and a better mix of products",
    "the integration of businesses acquired in the prior year",
    "delays in regulatory clearance for two product lines",
    "increased headcount in engineering and field support",
)
_PARTIES = ("suppliers", "distributors", "contract manufacturers", "public tender offices", "hospital networks")
_HARMS = (
    "our business, financial condition and results of operations could be materially and adversely affected",
    "we may be required to record an impairment of goodwill or other intangible assets",
    "our reputation with customers and regulators could suffer, and revenue could decline",
    "we could incur fines, recall costs or the expense of remediation that insurance does not cover",
    "the market price of our common stock could fluctuate or decline",
)
_TOPICS = (
    "data protection",
    "export licences",
    "the handling of solvents",
    "medical device reporting",
    "conflict minerals",
    "collective bargaining",
    "transfer pricing",
)
_STANDARDS = (
    "revenue recognition",
    "leases",
    "credit losses",
    "income taxes",
    "share-based compensation",
    "inventories",
)


def _result(pick: random.Random) -> str:
    change = pick.choice(("increased", "decreased", "grew", "declined"))
    return (
        f"{pick.choice(_METRICS)} of the {pick.choice(_SEGMENTS)} segment {change} by {pick.uniform(0.4, 18):.1f}% to "
        f"${pick.uniform(12, 960):,.1f} million in fiscal {FISCAL_YEAR}, compared with "
        f"${pick.uniform(12, 960):,.1f} million in fiscal {FISCAL_YEAR - 1}, primarily because of "
        f"{pick.choice(_CAUSES)} in {pick.choice(_REGIONS)}."
    )


def _risk(pick: random.Random) -> str:
    return (
        f"If our {pick.choice(_PARTIES)} in {pick.choice(_REGIONS)} fail to meet their obligations, or if rules on "
        f"{pick.choice(_TOPICS)} change in ways that we do not anticipate, {pick.choice(_HARMS)}."
    )


def _reliance(pick: random.Random) -> str:
    return (
        f"We depend on a limited number of {pick.choice(_PARTIES)}, and {pick.randint(2, 9)} of them account for about "
        f"{pick.randint(21, 78)}% of what we purchase for the {pick.choice(_SEGMENTS)} segment."
    )


def _compliance(pick: random.Random) -> str:
    return (
        f"Compliance with requirements on {pick.choice(_TOPICS)} required capital expenditures of approximately "
        f"${pick.uniform(0.3, 14):.1f} million during the year, and management expects a similar amount in fiscal "
        f"{FISCAL_YEAR + pick.randint(1, 3)}."
    )


def _policy(pick: random.Random) -> str:
    return (
        f"The Company's accounting policy for {pick.choice(_STANDARDS)} requires estimates of amounts that are "
        f"uncertain at the balance sheet date; a change of {pick.randint(1, 9)} percentage points in the assumptions "
        f"used would have changed income before taxes by ${pick.uniform(0.2, 9):.1f} million."
    )


def _customers(pick: random.Random) -> str:
    return (
        f"Customers of the {pick.choice(_SEGMENTS)} segment in {pick.choice(_REGIONS)} typically place orders "
        f"{pick.randint(2, 14)} months before delivery, and they may cancel them without penalty until "
        f"{pick.randint(10, 90)} days before shipment."
    )


def _staff(pick: random.Random) -> str:
    return (
        f"As of the end of the fiscal year the segment employed {pick.randint(140, 4200):,} people in "
        f"{pick.choice(_REGIONS)}, of whom {pick.randint(4, 61)}% were covered by agreements with works "
        "councils or unions."
    )


_SENTENCES: tuple[Callable[[random.Random], str], ...] = (
    _result,
    _result,
    _risk,
    _risk,
    _reliance,
    _compliance,
    _policy,
    _customers,
    _staff,
)


@cache
def annual_report_pdf(pages: int = PAGES, seed: int = 10) -> bytes:
    """The report with that many pages of 3,000 characters and more. `FACTS` hold for at least 71 pages."""
    return draw(_pages(random.Random(seed), pages), title=TITLE)


def _pages(pick: random.Random, pages: int) -> Iterator[list[Block]]:
    planted = {page: statement for page, statement, _, _ in PLANTED}
    for number in range(1, pages + 1):
        item = ITEMS[(number - 1) * len(ITEMS) // pages]
        yield [Heading(item), *_body(pick, planted.get(number))]


def _body(pick: random.Random, planted: str | None) -> Iterator[Block]:
    with_table = pick.random() < 0.3
    lines = 34 if with_table else 43
    while lines > 0:
        sentences = [pick.choice(_SENTENCES)(pick) for _ in range(pick.randint(2, 4))]
        if planted is not None:
            sentences.insert(1, planted)
            planted = None
        paragraph = Paragraph(" ".join(sentences))
        yield paragraph
        lines -= len(paragraph.lines)
    if with_table:
        yield _table(pick)


def _table(pick: random.Random) -> Table:
    years = [str(FISCAL_YEAR - back) for back in range(3)]
    rows = [["(in millions, fiscal year ended September 30)", *years]]
    for metric in pick.sample(_METRICS, 5):
        rows.append([f"{metric}, {pick.choice(_SEGMENTS)}", *(f"{pick.uniform(10, 990):,.1f}" for _ in years)])
    return Table(rows)
