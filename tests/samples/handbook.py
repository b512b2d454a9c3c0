"""A handbook of 24 pages with one fact on each, and the questions that it can and cannot answer."""

from dataclasses import dataclass
from functools import cache

from tests.samples.drawing import Heading, Paragraph, draw

TITLE = "Handbook of the Kestrel Ridge Observatory"


@dataclass(frozen=True)
class Fact:
    """A question whose answer stands on one page. `answer` is a part of the sentence that says it."""

    page: int
    question: str
    answer: str


@dataclass(frozen=True)
class Leaf:
    """A page: what it is about, what it says around the fact, the fact, and what one asks to get it."""

    heading: str
    before: str
    statement: str
    after: str
    question: str
    answer: str


LEAVES = (
    Leaf(
        "The site",
        "Kestrel Ridge rises out of a plateau of dry grass, a day's walk from the nearest town. The founders looked at "
        "eleven hills before they chose this one, for the air above it is calm even in autumn.",
        "The main dome stands at an altitude of 2,318 metres above the sea.",
        "Visitors who come up from the coast are asked to rest for an hour before they climb the stairs.",
        "At what altitude does the main dome stand?",
        "2,318 metres",
    ),
    Leaf(
        "Foundation",
        "For its first years the observatory lived on a single gift and on the patience of its neighbours. The deed of "
        "foundation hangs in the library, beside a photograph of the mules that carried the first mirror.",
        "The observatory was founded in 1937 by the clockmaker Edith Vandermeer.",
        "Her workshop in the valley is a museum today, open on the first Sunday of each month.",
        "Who founded the observatory?",
        "Edith Vandermeer",
    ),
    Leaf(
        "The great telescope",
        "The instrument in the main dome has been rebuilt twice, and only its pier is original. Observers know it by "
        "its habit of groaning when the temperature falls quickly.",
        "The primary mirror of the great telescope has a diameter of 3.6 metres.",
        "Its cell rests on eighteen supports, each of which is adjusted once a season.",
        "What is the diameter of the primary mirror?",
        "3.6 metres",
    ),
    Leaf(
        "Coating the mirrors",
        "Dust and pollen dull a mirror within a few seasons, however carefully the shutters are kept. The work is done "
        "in the vacuum chamber below the dome, and the crane is tested on the day before.",
        "The mirrors are coated with fresh aluminium every 26 months.",
        "Nobody enters the coating hall without a hood, gloves and soft shoes.",
        "How often are the mirrors coated with fresh aluminium?",
        "26 months",
    ),
    Leaf(
        "The spectrograph",
        "A spectrograph spreads the light of a star into its colours, and ours does so in a room that nobody enters "
        "for weeks. Its gratings were ruled by a workshop that has since closed, so that spares are precious.",
        "The spectrograph named Heron is cooled to minus 118 degrees Celsius.",
        "If its alarm sounds, the duty engineer is called at any hour of the night.",
        "To what temperature is the spectrograph Heron cooled?",
        "minus 118 degrees",
    ),
    Leaf(
        "Observing time",
        "Anybody at a member institute may propose an observation, students included. Proposals are read by a "
        "committee whose members change every second year, and they are judged without the names of their authors.",
        "Proposals for observing time must be submitted by the 9th of February.",
        "Late proposals are kept for the following season and are not returned.",
        "By which date must proposals for observing time be submitted?",
        "9th of February",
    ),
    Leaf(
        "Weather limits",
        "More mirrors are lost to wet air than to storms. The shutters close by themselves when the sensors on the "
        "mast disagree with each other, and they open again only by hand.",
        "The dome must be closed when the relative humidity exceeds 84 percent.",
        "The observer on duty may close earlier, and need not give a reason.",
        "Above which relative humidity must the dome be closed?",
        "84 percent",
    ),
    Leaf(
        "Lightning",
        "Summer afternoons bring thunder to the ridge two or three times a week. All instruments are earthed, and the "
        "cables to the mast are unplugged before the first drop falls.",
        "After the last thunder, staff wait 40 minutes before they go back on the catwalk.",
        "The dog is to be brought inside as well.",
        "How long do staff wait after the last thunder before going back on the catwalk?",
        "40 minutes",
    ),
    Leaf(
        "Electric power",
        "The line from the valley was built for a quarry and fails when ice gathers on it. Everything that holds a "
        "vacuum, and everything that counts photons, runs on the emergency supply.",
        "The emergency generator burns 19 litres of diesel an hour.",
        "Its tank is filled on Mondays, whatever the gauge says.",
        "How much diesel does the emergency generator burn?",
        "19 litres",
    ),
    Leaf(
        "Water",
        "There is no spring on the ridge, and rain runs off the granite before it can be gathered. Showers are short "
        "here by custom and not by rule.",
        "Drinking water is brought by a tanker named Bluebell from the village of Orrin.",
        "An empty cistern is reported to the caretaker and not to the director.",
        "From which village is the drinking water brought?",
        "Orrin",
    ),
    Leaf(
        "The kitchen",
        "Astronomers eat when others sleep, and the kitchen keeps their hours. Lists for the night lunch hang beside "
        "the door, and whoever forgets to sign gets soup.",
        "The night lunch is served at a quarter past one in the morning.",
        "Dishes are washed by those who ate last.",
        "When is the night lunch served?",
        "quarter past one",
    ),
    Leaf(
        "The library",
        "Everything printed before the network came is kept in the round room under the small dome. Borrowing is a "
        "matter of trust, and the card index is still in use.",
        "The oldest book in the library is a star atlas printed in Antwerp in 1603.",
        "It may be looked at on the reading desk, with clean hands and without a lamp.",
        "Where was the oldest book in the library printed?",
        "Antwerp",
    ),
    Leaf(
        "The road",
        "The last nine kilometres have no crash barrier and in places no edge. Chains are kept in the hut at the "
        "cattle grid, and they are to be put back dry.",
        "At night the speed limit on the summit road is 15 kilometres an hour.",
        "Headlights are dimmed at the white post, from where on the domes can see them.",
        "What is the speed limit on the summit road at night?",
        "15 kilometres an hour",
    ),
    Leaf(
        "Medical help",
        "Thin air makes small troubles larger, and the helicopter does not fly in fog. Every member of staff renews "
        "the first aid course each spring.",
        "The oxygen bottles are stored in the red cabinet beside the seismometer.",
        "The key hangs on the inside of its door, which is never locked.",
        "Where are the oxygen bottles stored?",
        "red cabinet",
    ),
    Leaf(
        "Animals",
        "The ridge belongs to its animals, and the observatory is their guest. Nests found in the shutters are "
        "photographed, reported and left alone until the young have gone.",
        "The kestrel that nests on the north balcony is called Brunhilde.",
        "She is not to be fed.",
        "What is the name of the kestrel on the north balcony?",
        "Brunhilde",
    ),
    Leaf(
        "The archive of plates",
        "Before electronic detectors the sky was photographed on glass. The plates are kept upright in paper sleeves, "
        "sorted by the hour of right ascension.",
        "The archive holds 47,250 photographic plates.",
        "Requests for a scan are answered within ten working days.",
        "How many photographic plates does the archive hold?",
        "47,250",
    ),
    Leaf(
        "Data",
        "Every exposure is copied to two places before the shutter opens again. Data belong to those who proposed the "
        "observation, for a time, and afterwards to everybody.",
        "Observations become public 14 months after they were taken.",
        "An extension is granted only for a doctoral thesis, and only once.",
        "When do observations become public?",
        "14 months",
    ),
    Leaf(
        "The computing room",
        "What the cameras see is reduced to catalogues within the hour by a rack of machines in the old coal cellar. "
        "The room is quiet for so many fans, because the walls are a metre thick.",
        "The pipeline that reduces the images is called Thistle.",
        "Its log is read by the morning shift, together with the weather.",
        "What is the name of the pipeline that reduces the images?",
        "Thistle",
    ),
    Leaf(
        "Time",
        "A position in the sky is worth as much as the clock it was taken with. The pendulum in the hall is kept for "
        "its beauty, and it is right to a few seconds a month.",
        "The station's time comes from a caesium clock lent by the institute in Neuchâtel.",
        "It leaves the ridge for comparison every third summer.",
        "Which institute lent the caesium clock?",
        "Neuchâtel",
    ),
    Leaf(
        "Guests",
        "Beds in the guest house are given in the order of requests, and a guest brings slippers. Windows are covered "
        "from dusk on, for a single lamp spoils an exposure.",
        "A night in the guest house costs 31 crowns, breakfast included.",
        "Students of member institutes stay without charge for up to a week.",
        "How much does a night in the guest house cost?",
        "31 crowns",
    ),
    Leaf(
        "School visits",
        "Classes come on weekdays between March and June. They see the workshop, the plates and the small telescope, "
        "and most of all they want to see the slide into the cellar.",
        "Groups of visitors may have at most 22 children.",
        "One grown-up for every seven of them is asked for.",
        "How many children may a group of visitors have at most?",
        "22 children",
    ),
    Leaf(
        "The workshop",
        "Nearly everything can be repaired on the ridge, and nearly everything has been. Tools are borrowed against a "
        "brass token that bears the borrower's number.",
        "The lathe may be used only by those who hold the green badge.",
        "The badge is given by the foreman after an afternoon of instruction.",
        "Which badge must one hold to use the lathe?",
        "green badge",
    ),
    Leaf(
        "A discovery",
        "Not all that was found here was looked for. The most famous object in our catalogues was a smudge on a plate "
        "that had been set aside as spoiled.",
        "Comet Almqvist was discovered here on 3 October 1958 by the night assistant Rosalind Achterberg.",
        "The spoiled plate hangs in the hall, under the pendulum.",
        "Who discovered Comet Almqvist?",
        "Rosalind Achterberg",
    ),
    Leaf(
        "Closing down",
        "One day light from the valley will end what began with a gift. The statutes say what shall become of the "
        "buildings, the books and the plates when that day has come.",
        "If the observatory is closed, the great telescope goes to the University of Tromsø.",
        "The ridge itself is to be given back to the shepherds.",
        "To which university does the great telescope go if the observatory is closed?",
        "Tromsø",
    ),
)

FACTS = tuple(Fact(page, leaf.question, leaf.answer) for page, leaf in enumerate(LEAVES, start=1))

UNANSWERABLE = (
    "What is the director's salary?",
    "Which programming language is used for the payroll?",
    "How many bicycles were stolen in Copenhagen last year?",
    "What is the capital of Mongolia?",
    "Who won the football world cup in 1966?",
)


@cache
def handbook_pdf() -> bytes:
    return draw(
        (
            [Heading(leaf.heading), Paragraph(leaf.before), Paragraph(leaf.statement), Paragraph(leaf.after)]
            for leaf in LEAVES
        ),
        title=TITLE,
    )
