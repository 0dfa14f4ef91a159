"""The story generator: endless short tales about a small consistent world, the same for the same seed everywhere."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gptdesk.starter import lexicon
from gptdesk.starter.friend_plots import growing, neighbour, noise, promise, storm, stranger
from gptdesk.starter.telling import Character, Dice, Event, Teller
from gptdesk.starter.thing_plots import broken, gift, lost, out_of_reach, quarrel, trade

MILD = "sunny warm bright"  # weather for sitting outside
DRY = "sunny warm windy bright grey cold"
ANY = "sunny windy rainy warm grey bright foggy cold snowy"
PLOTS: tuple[tuple[Callable[[Teller], None], str], ...] = (  # each with the weather in which it can happen
    (lost, ANY),
    (quarrel, DRY),
    (noise, ANY),
    (out_of_reach, "windy"),
    (gift, ANY),
    (storm, MILD),
    (neighbour, ANY),
    (broken, ANY),
    (promise, MILD),
    (trade, DRY),
    (growing, MILD),
    (stranger, DRY),
)

DAYTIMES = ("morning", "day", "afternoon")
# Openings that say when the story happens; after the others, the plot says so itself.
TIMED = (
    "One {weather} {day}, {a.first} could not sit still.",
    "Early one {weather} {day}, {a.first} came out to smell the air.",
    "It was a {weather} {day}, and {a.first} had nothing to do.",
    "On a {weather} {weekday}, {a.first} opened the window and looked out.",
    '"What a {weather} {day}!" said {a.first}.',
    "Last {weekday}, {a.first} got up before the sun.",
    "The {day} was {weather}, and {a.first} was in a good mood.",
    "Once, on a {weather} {day}, {a.first} had nothing at all to do.",
)
UNTIMED = (
    "Once upon a time, there was {a.first}.",
    "Once there was {a.first} who loved {hobby}.",
    "{a.home} lived {a.first}.",
    "Long ago, {a.home}, there lived {a.first}.",
    "There once was {a.first}, and {habit}.",
    "Once upon a time, {a.first} lived {a.home}.",
    "This is the story of {a.first}.",
    "Everybody knew {a.first} who lived {a.home}.",
    "Far, far away, {a.home}, lived {a.first}.",
    "Do you know {a}? You would like {a.him}, because {habit}.",
    "Not so long ago, there was {a.first} who loved {hobby}.",
    "In those days, {a.first} lived {a.home}.",
    "Once there lived {a.first}, and {habit}.",
)
BY_NAME = (
    "{a} was a {a.trait} {a.kind} who lived {a.home}.",
    "{a} lived {a.home}.",
    "{a} loved {hobby}.",
    "{a} was {a.trait}. {habit}.",
    "{a}, a {a.trait} {a.kind}, lived {a.home}.",
)
BY_KIND = (
    "The {a.kind} who lived {a.home} was very {a.trait}.",
    "The {a.trait} {a.kind} lived {a.home}.",
    "The {a.kind} loved {hobby}.",
    "The {a.kind} was {a.trait}. {habit}.",
    "A {a.trait} {a.kind} once lived {a.home}.",
)
TOGETHER = (
    "{a} and {b} were best friends.",
    "{a} and {b} lived next door to each other.",
    "{a} and {b} did everything together.",
    "Nobody ever saw {a} without {b}.",
)
CLOSINGS = (
    "From that day on, {a} and {b} were {bond}.",
    "That night, {a} fell asleep with a smile.",
    "And they talked about it for many years.",
    "What a {good} {day} it had been!",
    '"Shall we do it again tomorrow?" asked {b}. And they did.',
    "{a} was so {happy} that {a.he} sang all the way to bed.",
    "Then it was time for supper, and there was a second helping for everyone.",
    "And if they have not moved away, they are still laughing about it.",
    "The moon came up, and all was well.",
    "{b} {smiled}, and {a} {smiled} back.",
    '"I am glad that you are my friend," said {b}.',
    "{a} looked up at the stars and felt {happy}.",
    "Some days are small, but this one was {big}.",
    "The two friends sat together until the stars came out.",
)


@dataclass(frozen=True)
class Told:
    """A story with what happened behind its words: who took part, and every change of the world in order."""

    text: str
    plot: str
    cast: tuple[Character, Character]
    events: tuple[Event, ...]


def _open(t: Teller, *, strangers: bool) -> None:
    """Who the story is about, and when; sets the slots {when} and {night} with which the plot begins."""
    dice, slots = t.dice, t.slots
    habit = dice.pick(lexicon.HABITS[t.a.trait], flat=1).format(a=t.a)
    slots.update(day=dice.pick(DAYTIMES), hobby=dice.pick(lexicon.HOBBIES, flat=8), habit=habit, night="One night,")
    slots["when"] = dice.pick((f"One {t.weather} {slots['day']},", "One day,", f"One {slots['day']},"), flat=1)
    form = dice.pick(("untimed", "named", "timed", "together"), flat=1)
    if form == "timed":
        slots["when"], slots["night"] = dice.pick((f"That {slots['day']},", "Later that day,"), flat=1), "That night,"
        t.say(*TIMED)
    elif form == "together" and not strangers:
        t.say(*TOGETHER)
        t.say("{a} was {a.what}, and {b} was {b.what}.")
        t.already_met()
    elif form == "named":
        t.say(*(BY_NAME if t.a.named else BY_KIND))
    else:
        t.say(*UNTIMED)
    told = t.text()
    if habit not in told.lower():
        t.maybe(0.6, "{habit}.")
    if "loved" not in told:
        t.maybe(0.3, "{a} loved {hobby}.", "Most of all, {a} liked {hobby}.")


def _close(t: Teller) -> None:
    moral = str(t.slots["moral"]).format_map(t.slots)
    if t.dice.chance(0.3):
        t.paragraph()
    if t.dice.chance(0.3):
        t.say(moral, '"{moral}," said {a}.', '"{moral}," said {a}, and {b} thought so, too.', moral=moral.rstrip("."))
    if t.dice.chance(0.8):
        t.say(*CLOSINGS)
    t.maybe(0.05, "The end.")


def tell(seed: int, index: int) -> Told:
    """Story `index` of the collection `seed`, with its world."""
    dice = Dice(seed, index)
    plot, weathers = dice.pick(PLOTS, flat=12)
    strangers = plot is neighbour
    teller = Teller(dice, weather=weathers)
    teller.slots["bond"] = "good friends" if strangers else "better friends than ever"
    _open(teller, strangers=strangers)
    plot(teller)
    _close(teller)
    return Told(teller.text(), plot.__name__, (teller.a, teller.b), tuple(teller.world.events))


def story(seed: int, index: int) -> str:
    """Story `index` of the collection `seed`: 80 to 200 words in a few paragraphs, a blank line between them."""
    return tell(seed, index).text


def stories(seed: int, count: int) -> Iterator[str]:
    """The first `count` stories of the collection `seed`, one at a time."""
    return (story(seed, index) for index in range(count))
