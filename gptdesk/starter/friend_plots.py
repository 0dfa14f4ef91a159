"""Plots about courage, patience and kindness: a noise, a storm, a neighbour, a promise, a seed, a stranger."""

from gptdesk.starter.lexicon import FOODS, GAMES, HELPERS, NOISES, SEEDS, TASKS
from gptdesk.starter.telling import HOME, NEXT_DOOR, Teller, the

# Frames of one `say` mean the same; whatever follows in a plot is true after each of them.
# fmt: off


def noise(t: Teller) -> None:
    a, b, world = t.a, t.b, t.world
    sound = t.dice.pick(list(NOISES))
    world.go(HOME, a)
    t.say("{night} {a} could not sleep.", "{night} {a} woke up.", "{night} when the moon was high, {a} sat up in bed.",
          sound=sound, cause=NOISES[sound])
    t.say("There was a noise: {sound}!", "Something went {sound}.", '"{sound}!" it went in the dark.')
    t.say("{a} was {very} {afraid}.", "{a} pulled the blanket over {a.his} head.", "{a.his} heart beat like a drum.")
    t.maybe(0.6, '"Perhaps it is a dragon," {a.he} thought.', '"It must be a ghost," {whispered} {a}.',
            "It sounded like a very big animal with very big feet.")
    t.paragraph()
    t.meet()
    world.go(NEXT_DOOR, a, b)
    t.say("{a} ran through the dark and knocked at {b}'s door.", "So {a} ran to {b}, as fast as {a.he} could.")
    t.say('"There is a monster outside!" {cried} {a}.', '"I am {afraid}," said {a}. "Will you come with me?"')
    t.say('"Then we will look at it together," {replied} {b}.',
          '"I am a bit {afraid}, too," {replied} {b}. "But there are two of us."')
    lantern = t.thing({"lantern": "paper green old little"})
    world.appear(b, lantern)
    world.go(HOME, a, b)
    t.say("{b} took a {lamp.full}, and they crept back, side by side.",
          "They went back on tiptoe, with {b}'s {lamp.full}.", lamp=lantern)
    t.say('"{sound}!" There it was again.', '"{sound}!" It was much louder now.')
    t.say("{b} held up the {lamp}, and they saw {cause}.", "{a} took a deep breath and looked. It was {cause}.",
          "And what did they find? It was only {cause}.")
    t.say("They {laughed} until their tummies hurt.", '"Good evening, monster," said {b}, and they both {laughed}.',
          '"So that is all!" {cried} {a}.')
    t.slots["moral"] = "Many things look smaller in the light."


def storm(t: Teller) -> None:
    a, b, world, place = t.a, t.b, t.world, t.place
    t.meet()
    world.go(place, a, b)
    t.say("{when} {a} and {b} played {game} {place.at}.", "{when} {a} and {b} {walked} {place.to} to play {game}.",
          game=t.dice.pick(GAMES))
    t.look_around(0.6)
    t.say("{suddenly} the sky turned dark.", "{soon} black clouds came over the roofs.")
    t.say("A big drop fell on {a}'s nose.", "Far away, the thunder began to growl.")
    shelter = t.dice.pick(("the old shed", "the hollow oak", "the boathouse", "an empty stable", "the stone arch"))
    t.say('"Quick!" {cried} {b}. "We must find a dry place!"', '"Run!" {cried} {a}.')
    world.go(shelter, a, b)
    t.say("They {ran} to {shelter} and sat close together.", "They {ran} until they came to {shelter}.",
          shelter=shelter)
    t.paragraph()
    food = t.dice.pick(FOODS)
    world.appear(b, food)
    t.say("The thunder went boom, and {a} began to shake.", "The rain was so loud that they had to shout.",
          "Lightning lit up the whole world.")
    t.say('"I do not like this," {whispered} {a}.', '"How long will it last?" asked {a}.')
    t.say('"Thunder is only the clouds bumping their heads," {replied} {b}.',
          '"Let us count until it stops," {replied} {b}.', '"Sing with me," {replied} {b}. "Then we will not hear it."')
    world.use_up(b, food)
    t.say("{b} still had {food}, and they shared it.", "Luckily, {b} had {food}, which was enough for two.", food=food)
    t.say("{at_last} the rain grew soft, and then it stopped.", "{soon} the thunder rolled away over the hills.")
    world.go(place, a, b)
    t.say("When they came out, there was a rainbow over {place}.", "Outside, every leaf was shining.",
          "They walked home through all the puddles, and they did not miss one.")
    t.slots["moral"] = "No storm lasts for ever."


def neighbour(t: Teller) -> None:
    a, b, world = t.a, t.b, t.world
    food = t.dice.pick(FOODS)
    t.already_met()
    world.go(HOME, a)
    world.go(NEXT_DOOR, b)
    t.say("{when} {b.first} moved in next door.", "{when} {a} got a new neighbour, {b.first}.", food=food)
    t.say("{a} watched the boxes go in. There were a great many boxes.",
          "{a} could see a lamp, a chair and eleven hats go in.",
          "{a} wanted to say hello, but {a.his} feet would not move.")
    t.say('"What if we do not like each other?" {a.he} {wondered}.',
          '"What does one say to a neighbour?" {a} {wondered}.')
    t.paragraph()
    world.appear(a, food)
    t.say("{then} {a} had {idea}. {a.he} took {food} from the kitchen.",
          "{at_last} {a} took {food} and opened the door.")
    world.go(NEXT_DOOR, a)
    t.say("{a} knocked at the door. Nobody came. {a} knocked again.", "{a} knocked three times, {very} {carefully}.")
    t.say("The door opened, only as wide as a finger.", "Two eyes looked out through a gap.")
    t.say('"Good {day}," said {a}. "I live next door, and I have {food}."',
          '"Hello," said {a}. "I have brought you {food}."')
    world.give(a, food, to=b)
    t.say('"I do not know anybody here," {whispered} {b}. "Please come in."',
          '"How kind!" {replied} {b}. "I was feeling {sad}."',
          '"I was going to knock at your door," said {b}, "but I was {afraid}."')
    world.use_up(b, food)
    t.say("They sat on two boxes and ate every crumb.", "They shared it, sitting on the floor between the boxes.")
    t.say("{b} knew a lot of jokes, and {a} knew all the short ways to the river.",
          "It turned out that both of them liked {game}.", "{soon} it felt as if they had always been friends.",
          game=t.dice.pick(GAMES))
    t.slots["moral"] = "Every friend was a stranger once."


def promise(t: Teller) -> None:
    a, b, world, place = t.a, t.b, t.world, t.place
    task = t.dice.pick(list(TASKS))
    done, asker = TASKS[task]
    t.say("{when} {c} had to go away.", "{when} {c} was {tired} and wanted a rest.", c=asker)
    t.say('"Will you {task} before dark?" {c} asked.', '"Could you {task} before the sun goes down?" asked {c}.',
          task=task)
    t.say('"I promise," {replied} {a}.', '"Of course," {replied} {a}. "You can trust me."')
    t.paragraph()
    t.meet()
    world.go(place, a, b)
    t.say('"Let us go {place.to} and play {game}," said {b}.', '"Come and play {game} with me!" {cried} {b}.',
          game=t.dice.pick(GAMES))
    t.say("They played {place.at} all afternoon.", "It was such fun that {a} forgot everything else.")
    t.look_around(0.4)
    t.say("{suddenly} {a} saw that the sun was very low.", "Then the shadows grew long, and {a} stood still.")
    t.say('"My promise!" {cried} {a}.', '"Oh no," said {a}. "I promised to {task}!"')
    t.say('"I will help you," {replied} {b}.', '"Then we must hurry," {replied} {b}.',
          '"You can do it later," {replied} {b}. But {a} shook {a.his} head.')
    world.go("the place of the promise", a, b)
    t.say("They {ran} down the road as fast as they could.", '"A promise is a promise," said {a}, and off they {ran}.')
    t.say("Just before dark, they {done}.", "And so, with the last light of the day, they {done}.", done=done)
    t.say('"I knew I could trust you," said {c}.', "When {c} heard it, there were pancakes for both of them.",
          "The next day, {c} shook {a.his} hand.")
    t.slots["moral"] = "A promise is worth more than a game."


def growing(t: Teller) -> None:
    a, b, world, place = t.a, t.b, t.world, t.place
    plant, helper = t.dice.pick(list(SEEDS)), t.dice.pick(HELPERS)
    grain = f"{plant} seed"
    world.go(place, a, the(helper))
    world.appear(the(helper), grain)
    world.give(the(helper), grain, to=a)
    t.say("{when} {c} gave {a} a {little} seed.", "{when} {a} met {c}, who gave {a.him} a seed.", c=helper, plant=plant)
    t.say('"Put it into the ground and be patient," said {c}.',
          '"It looks like nothing," said {c}, "but wait and see."', c=the(helper))
    world.use_up(a, grain)
    t.say("{a} dug a hole, dropped the seed in and covered it with earth.",
          "{a} planted it in the sun and gave it water.")
    t.say("The next morning, {a} looked. There was nothing.", "{a} sat down beside it to wait. Nothing happened.")
    t.maybe(0.6, "{a} sang to it. Nothing happened.", "{a} told it a story. It did not answer.",
            "{a} gave it more water. It did not move.")
    t.paragraph()
    t.meet()
    world.go(place, b)
    t.say('"Perhaps it is asleep," said {b}.', '"Perhaps you planted a stone," said {b}.',
          '"Seeds are slow," said {b}. "Let us wait together."')
    t.say("Every day, they came with water, and every day, they saw only earth.", "A week went by, and then another.")
    t.say("{a} wanted to dig it up, but {b} held {a.him} back.", "{a} almost gave up.")
    t.say("Then, one morning, there was a {little} green tip.", "{at_last} something green looked out of the ground.")
    t.say("It grew and grew, until it was a {plant}, {size}.", "By the end of summer, it was a {big} {plant}, {size}.",
          size=SEEDS[plant])
    t.say('"We did it!" {cried} {a}.', '"Now that was worth it," said {b}.', "{a} and {b} danced around it.")
    t.slots["moral"] = "Good things take time."


def stranger(t: Teller) -> None:
    a, b, world, place = t.a, t.b, t.world, t.place
    food = t.dice.pick(FOODS)
    helper = t.dice.pick(("a thin robin", "a young hare", "an old ram", "a small crow", "a wet kitten"))
    t.meet()
    world.go(place, a, b, the(helper))
    world.appear(a, food)
    t.say("{when} the two friends {walked} {place.to} with {food}.", "{when} {a} and {b} sat {place.at} with {food}.",
          food=food)
    t.look_around(0.4)
    t.say("{suddenly} they saw {c}, who looked very hungry.", "There sat {c}, who had not eaten for two days.",
          c=helper)
    t.say('"It is only enough for two," {whispered} {b}.', '"We have so little," said {b}.')
    t.say('"Then we will make it enough for three," {replied} {a}.',
          '"A small piece is better than none," {replied} {a}.', c=the(helper))
    world.use_up(a, food)
    t.say("So they shared it, and {c} ate every crumb.", "{c} ate and {smiled} and ate some more.")
    t.say('"I will not forget this," said {c}.', '"Thank you," said {c}. "One day, I will help you."')
    t.paragraph()
    t.say("Later, a thick fog came down, and the friends lost their way.",
          "On the way home, it grew dark, and they took the wrong path.")
    t.say('"Which way is home?" asked {b}.', '"I think we have passed this tree before," said {b}.',
          "{b} held {a.his} hand very tight.")
    world.go("on the way home", a, b, the(helper))
    t.say("Then they heard a voice. It was {c}!", "{suddenly} {c} stood in front of them.")
    t.say('"Follow me," said {c}. "I know every path."', '"Come with me," said {c}.')
    world.go(HOME, a, b)
    t.say("{soon} they saw the lights of home.", "A few minutes later, they were back on the road they knew.")
    t.slots["moral"] = "Kindness always finds its way back."
