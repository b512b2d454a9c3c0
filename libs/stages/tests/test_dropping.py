"""Versions that nobody needs are erased; those that answer, or may yet, stay."""

from libs.stages.tests.at_work import AtWork


async def test_versions_below_the_one_that_answers_and_failed_ones_are_dropped(at_work: AtWork) -> None:
    at_work.holdings.inside = dict.fromkeys(range(1, 5), 1)
    at_work.holdings.outside = dict.fromkeys(range(1, 5), 1)
    await at_work.hear(at_work.ready(2), at_work.failed(3))
    await at_work.do(at_work.drop)

    assert at_work.holdings.inside.keys() == at_work.holdings.outside.keys() == {2, 4}


async def test_a_drop_that_meets_a_deletion_leaves_all_of_it_to_the_purge(at_work: AtWork) -> None:
    at_work.holdings.inside, at_work.holdings.outside = {1: 1, 2: 1}, {1: 1, 2: 1}
    await at_work.hear(at_work.ready(2), at_work.deleted(2))
    await at_work.do(at_work.drop)

    assert at_work.holdings.inside.keys() == at_work.holdings.outside.keys() == {1, 2}


async def test_a_deletion_in_the_middle_of_a_drop_leaves_the_rows_to_the_purge(at_work: AtWork) -> None:
    at_work.holdings.inside, at_work.holdings.outside = {1: 1, 2: 1}, {1: 1, 2: 1}
    await at_work.hear(at_work.ready(2))
    finish = await at_work.drop.run(await at_work.job("drop"))
    await at_work.hear(at_work.deleted(2))
    await at_work.end(finish)

    assert at_work.holdings.inside.keys() == {1, 2}
    assert at_work.holdings.outside.keys() == {2}
