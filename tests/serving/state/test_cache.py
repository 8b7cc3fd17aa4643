from __future__ import annotations

from serving.state.cache import Answer, AnswerCache, Sent


def answer(size: int) -> Answer:
    return Answer(b"x" * size, {})


def test_an_answer_is_found_by_its_tag_and_hits_and_misses_are_counted():
    cache = AnswerCache(100_000)
    assert cache.get("a") is None
    cache.put("a", answer(10))
    assert cache.get("a") == answer(10)
    assert (cache.hits, cache.misses, len(cache), cache.bytes) == (1, 1, 1, 1010)


def test_the_least_recently_used_go_first_and_the_bound_holds():
    cache = AnswerCache(10_000)
    for name in "abcd":
        cache.put(name, answer(0))
    assert cache.get("a") is not None
    for number in range(7):
        cache.put(str(number), answer(0))
    assert cache.bytes <= 10_000
    assert cache.get("a") is not None
    assert cache.get("b") is None


def test_putting_an_answer_again_counts_it_once():
    cache = AnswerCache(100_000)
    cache.put("a", answer(10))
    cache.put("a", answer(500))
    assert (len(cache), cache.bytes) == (1, 1500)


def test_a_large_answer_is_not_kept_and_zero_bytes_keep_nothing():
    cache = AnswerCache(10_000)
    cache.put("large", answer(5_000))
    assert cache.get("large") is None
    off = AnswerCache(0)
    off.put("a", answer(0))
    assert len(off) == 0


def test_answers_as_they_were_sent_share_the_bound_and_are_never_taken_for_others():
    cache = AnswerCache(40_000)
    sent = Sent(b"x" * 10, ((b"etag", b"a"),), b"cache;dur=")
    cache.put("a", answer(10))
    cache.put_sent(("a",), sent)
    assert (cache.get("a"), cache.get_sent(("a",)), cache.get_sent(("b",))) == (answer(10), sent, None)
    assert (cache.hits, cache.misses, len(cache), cache.bytes) == (2, 1, 2, 5020)
    for number in range(20):
        cache.put_sent((number,), sent)
    assert cache.bytes <= 40_000
    assert cache.get("a") is None
