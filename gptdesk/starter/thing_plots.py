"""Plots about things: lost, stuck in a tree, fought over, given, traded, broken."""

from gptdesk.starter.lexicon import (
    BREAKABLES,
    CLIMBERS,
    CORNERS,
    FLYERS,
    GAMES,
    HELPERS,
    HIDDEN,
    PLACES,
    TOYS,
    TREASURES,
    TREES,
)
from gptdesk.starter.telling import HOME, NEXT_DOOR, Teller, the

# Frames of one `say` mean the same; whatever follows in a plot is true after each of them.
# fmt: off


def lost(t: Teller) -> None:
    a, b, world, place = t.a, t.b, t.world, t.place
    thing = t.thing(TOYS)
    world.go(HOME, a)
    world.appear(a, thing)
    t.say("{a} had a {thing.full} and took it everywhere.", "{a} owned only one treasure, a {thing.full}.",
          "The best thing {a} had was a {thing.full}.", "{a} was very fond of a {thing.full}.", thing=thing)
    world.go(place, a)
    world.drop(a, thing)
    world.go(HOME, a)
    t.say("{when} {a} came home from {place}, and the {thing} was gone.", "{when} the {thing} was gone.",
          "{when} {a} played {place.at}, and afterwards the {thing} was gone.")
    x, y = t.dice.pick_some(CORNERS, 2)
    t.say("{a} {looked} {x}, but {found} only {junk}.", "{x}, there was only {junk}.", x=x, junk=t.dice.pick(HIDDEN))
    t.maybe(0.6, "{a} {looked} {y}, too. No {thing}.", "There was nothing {y}, either.", y=y)
    t.paragraph()
    t.meet()
    world.go(HOME, b)
    t.say('"Why do you look so {sad}?" asked {b}.', '"What is the matter?" asked {b}.')
    t.say('"I have lost my {thing}," said {a}.', '"My {thing} is gone!" {cried} {a}.',
          '"I cannot find my {thing}," {replied} {a}.')
    t.say('"Let us look again where you had it last," said {b}.',
          '"Think back," said {b}. "Where were you when you had it last?"')
    world.go(place, a, b)
    t.say("Together they {walked} {place.to}.", "{then} the two friends {walked} {place.to}.")
    t.look_around(0.5)
    spot = t.dice.pick(place.spots)
    if t.dice.chance(0.6):
        world.take(a, thing)
        t.say("And there, {x}, lay the {thing}!", "{suddenly} {b} pointed. There was the {thing}, {x}!", x=spot)
        t.say("{a} picked it up and held it tight.", "{a} danced around with the {thing}.")
    else:
        finder = t.dice.pick(("wren", "dormouse", "lizard"))
        world.go(place, f"the {finder}")
        world.take(f"the {finder}", thing)
        t.say("{x}, a {little} {c} was using the {thing} as a bed.",
              "{x}, a {little} {c} had made the {thing} into a house.", x=spot, c=finder)
        t.say('"Is this yours?" asked the {c}. "It is very comfortable."',
              '"Good {day}," said the {c}. "I only borrowed it."')
        world.give(f"the {finder}", thing, to=a)
        t.say("{a} thanked the {c} and got the {thing} back.",
              "The {c} gave the {thing} back, and {a} made a deep bow.")
    t.slots["moral"] = "Four eyes see more than two."


def out_of_reach(t: Teller) -> None:
    a, b, world, place = t.a, t.b, t.world, t.place
    thing, tree = t.thing(FLYERS), t.dice.pick(TREES)
    world.go(place, a)
    world.appear(a, thing)
    t.say("{when} {a} {walked} {place.to} with a {thing.full}.", "{when} {a} took a {thing.full} {place.to}.",
          thing=thing, tree=tree)
    t.look_around(0.4)
    world.drop(a, thing, place=f"up the {tree}")
    t.say("{suddenly} the wind grabbed the {thing} and blew it high into the {tree}.",
          "Whoosh! The wind carried the {thing} away, right up into the {tree}.")
    t.say("{a} jumped as high as {a.he} could, but it was not high enough.",
          "{a} shook the trunk, but only leaves came down.", "{a} called to the {thing}, but it did not listen.",
          "{a} tried to climb the trunk, but {a.he} slid down again.")
    t.paragraph()
    t.meet()
    world.go(place, b)
    t.say("{b} came along and looked up.", "{b} had seen it all and came running.")
    t.say('"We need a long stick," said {b}. But the stick was not long enough.',
          '"We can throw a ball at it," said {b}. Now the ball was up there, too.',
          '"Stand on my shoulders," said {b}. They fell over in a heap.')
    helper = t.dice.pick(list(CLIMBERS))
    t.say("{then} {a} asked {c} for help.", "Luckily, {c} came by.", c=helper)
    world.go(f"up the {tree}", the(helper))
    world.take(the(helper), thing)
    t.say("{c} {how}.", c=the(helper), how=CLIMBERS[helper])
    world.go(place, the(helper))
    world.give(the(helper), thing, to=a)
    t.say("A moment later, {a} had the {thing} back.", "{soon} {c} put the {thing} into {a.his} arms.")
    t.say('"Thank you!" {cried} {a}. "That was very kind."', '"Thank you very much," said {a}.')
    t.slots["moral"] = "It is no shame to ask for help."


def quarrel(t: Teller) -> None:
    a, b, world, place = t.a, t.b, t.world, t.place
    thing = t.thing(TOYS, names=TREASURES)
    t.meet()
    world.go(place, a, b)
    world.appear(place, thing)
    t.say("{when} the two friends {walked} {place.to}.", "{when} {a} and {b} played {game} {place.at}.",
          game=t.dice.pick(GAMES), thing=thing)
    t.say("There, {x}, they {found} a {thing.full}.", "{x}, something was waiting for them. It was a {thing.full}.",
          x=t.dice.pick(place.spots))
    t.say('"I saw it first!" {cried} {a}.', '"This {thing} is mine!" {cried} {a}.')
    t.say('"No, it is mine!" {cried} {b}.', '"You always get everything," said {b}.',
          '"That is not fair," {replied} {b}.')
    world.take(a, thing)
    t.say("They pulled and pulled, until {b} fell into the mud.", "{a} held the {thing} so tight that {b} let go.")
    t.paragraph()
    world.go(HOME, a)
    world.go(NEXT_DOOR, b)
    t.say("{a} went home with the {thing}, and {b} went home with nothing.", "{b} ran home without a word.")
    t.say("But the {thing} was no fun alone.", "But {a} did not feel {happy} at all.",
          "{a} looked at the {thing}. It did not look so {beautiful} now.")
    world.go(NEXT_DOOR, a)
    t.say("{at_last} {a} {walked} to {b}'s house and knocked.", "The next day, {a} knocked at {b}'s door.")
    t.say('"I am sorry," said {a}. "I was {angry}, and I was wrong."', '"I am sorry," {whispered} {a}.')
    t.say('"I am sorry, too," {replied} {b}.', '"I missed you," {replied} {b}.')
    if t.dice.chance(0.5):
        world.give(a, thing, to=b)
        t.say('"You can have the {thing} first," said {a}, and gave it to {b.him}.')
        t.say("So {b} had it until supper, and then it was {a.his} turn.", "After that, they took turns.")
    else:
        t.say("So they shared it, one day for {a} and one day for {b}.",
              "From then on, the {thing} belonged to both of them.")
    t.slots["moral"] = "A friend is worth more than any {thing}."


def gift(t: Teller) -> None:
    a, b, world, place = t.a, t.b, t.world, t.place
    thing = t.thing(TOYS, names=TREASURES)
    t.meet()
    world.go(HOME, a)
    t.say("{when} it was {b}'s birthday, and {a} had no present.",
          "{b}'s birthday was coming, and {a} wanted to give {b.him} something {good}.", thing=thing)
    t.say("{a} turned {a.his} pockets inside out, but there was no money in them.",
          "{a} counted {a.his} coins. There were two, and one was a button.")
    t.maybe(0.7, "First {a} tried to bake a cake, but it came out as hard as a brick.",
            "First {a} wrote a song, but it sounded like a rusty gate.",
            "First {a} painted a picture, but a snail walked over it.")
    t.paragraph()
    world.go(place, a)
    world.appear(place, thing)
    t.say("{a} {walked} {place.to} to think.", "So {a} {walked} {place.to} and looked around.")
    t.look_around(0.5)
    world.take(a, thing)
    t.say("{x}, {a.he} {found} a {thing.full} that nobody wanted.",
          "There, {x}, lay an old {thing}, all covered in dirt.", x=t.dice.pick(place.spots))
    t.say("{a} washed it and polished it until it looked like new.", "{a} cleaned it and tied a ribbon around it.",
          "{a} worked on it until the stars came out.")
    world.go(NEXT_DOOR, a, b)
    world.give(a, thing, to=b)
    t.say('"Happy birthday!" {cried} {a}, and gave {b.him} the {thing}.',
          "At the party, {a} gave {b} the {thing.full}.")
    t.say('"A {thing}! I have always wanted one," said {b}.', '"Did you make it so {beautiful}?" asked {b}.',
          "{b} did not say a word. {b.he} only hugged {a.him}.")
    t.maybe(0.6, "{b} put it in the best place in the house.", "{b} carried it around all evening.")
    t.slots["moral"] = "The best presents are made with love."


def trade(t: Teller) -> None:
    a, b, world = t.a, t.b, t.world
    names = t.dice.pick_some([name for name in TOYS if name not in ("mitten", "map")], 3)
    first, second, wish = (t.thing(TOYS, names=[name]) for name in names)
    c, d = t.dice.pick_some(HELPERS, 2)
    here, there = t.dice.pick_some(PLACES, 2)
    world.go(HOME, a)
    world.appear(a, first)
    t.meet()
    t.say("{b} had always wanted a {wish}.", "{b} had lost a {wish}, and {a} wanted to find {b.him} another one.",
          "There was one thing {b} wished for, and that was a {wish}.", wish=wish, x=first, y=second)
    t.say("But {a} had only a {x.full}.", "{a} had no {wish}. {a.he} had only a {x.full}.")
    world.go(here, a, the(c))
    world.appear(the(c), second)
    t.say("{when} {a} met {c} {here.at}.", "{when} {a} {walked} {here.to}. There sat {c}.", c=c, here=here)
    t.say('"What a {beautiful} {x}!" said {c}. "I would give my {y} for it."',
          '"I need a {x}," said {c}. "Will you take my {y} for it?"', c=the(c))
    world.give(a, first, to=the(c))
    world.give(the(c), second, to=a)
    t.say("So {a} gave away the {x} and got a {y.full}.", "They shook hands, and now {a} had a {y.full}.")
    t.paragraph()
    world.go(there, a, the(d))
    world.appear(the(d), wish)
    t.say("{there.at}, {d} was looking very {sad}.", "A little further on, {there.at}, stood {d}.", d=d, there=there)
    t.say('"If only I had a {y}," said {d}.', '"Is that a {y}?" asked {d}. "I have been looking for one all week."',
          d=the(d))
    world.give(a, second, to=the(d))
    world.give(the(d), wish, to=a)
    t.say('"You can have it," said {a}, and {d} gave {a.him} a {wish.full}.',
          "{d} got the {y}, and {a} got a {wish.full} for it.")
    world.go(NEXT_DOOR, a, b)
    world.give(a, wish, to=b)
    t.say("{a} ran all the way to {b} and gave {b.him} the {wish}.",
          "That evening, {a} put the {wish} into {b}'s hands.")
    t.say('"For me?" asked {b}, and {b.he} {smiled} from ear to ear.', '"A {wish}!" {cried} {b}. "How did you do it?"',
          '"It is the most {beautiful} {wish} in the world!" {cried} {b}.')
    t.slots["moral"] = "One good trade leads to another."


def broken(t: Teller) -> None:
    a, b, world = t.a, t.b, t.world
    thing = t.thing(BREAKABLES)
    t.meet()
    world.go(NEXT_DOOR, a, b)
    world.appear(b, thing)
    t.say("{b} had a {thing.full}, which was very old.", "{b}'s favourite thing was a {thing.full}.", thing=thing)
    t.say("{when} {b} let {a} carry it.", "{when} {a} was allowed to hold it.", "{when} {a} wanted to see it up close.")
    world.give(b, thing, to=a)
    t.say("{a} turned around too fast. Crack!", "It slipped. It fell. Crash!",
          "{a} held it {carefully}, but then {a.he} had to sneeze.")
    t.say("The {thing} was in two pieces.", "Now the {thing} was broken.", "A piece of the {thing} came off.")
    t.maybe(0.7, '"I could hide it," {a} thought. "Nobody would know."', '"I could say it was the wind," {a} thought.',
            "{a} wanted to run away.")
    t.say("But {a.his} tummy felt {very} strange.", "But that did not feel right.")
    t.paragraph()
    t.say("{a} went to {b} with red ears.", "{at_last} {a} told the truth.",
          "{b} came back, and {a} looked at the floor.")
    t.say('"I broke your {thing}," said {a}. "I am so sorry."', '"It was me," {whispered} {a}. "I broke the {thing}."')
    t.say("{b} was quiet for a moment.", "{b} looked at the pieces and {sigh}.", "{b} was {sad}, but not {angry}.")
    t.say('"Thank you for telling me," {replied} {b}. "We can mend it."',
          '"Everybody breaks something," {replied} {b}. "Get the glue."')
    t.say("They worked on it for {long_time}, and {a} held the pieces.",
          "They mended it with glue and a lot of patience.")
    world.give(a, thing, to=b)
    t.say("{at_last} the {thing} was whole again, with a thin line like a {smile}.",
          "Now the {thing} had a crack, and {b} liked it even better.", smile="smile")
    t.slots["moral"] = "The truth is the best glue."
