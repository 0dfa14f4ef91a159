"""The words of the small world that the starter stories are set in. In every list the commonest word comes first."""

from dataclasses import dataclass

GIRLS = [
    "Mia",
    "Nora",
    "Lily",
    "Ella",
    "Ruby",
    "Ada",
    "Zoe",
    "Ivy",
    "Clara",
    "Hazel",
    "Luna",
    "Daisy",
    "Greta",
    "Maya",
    "Elsie",
    "Anna",
    "Freya",
    "Rosa",
]
BOYS = [
    "Tom",
    "Leo",
    "Ben",
    "Max",
    "Finn",
    "Sam",
    "Theo",
    "Oscar",
    "Milo",
    "Hugo",
    "Jack",
    "Otto",
    "Arlo",
    "Noah",
    "Kai",
    "Emil",
    "Toby",
    "Paul",
]
PETS = [
    "Pip",
    "Bramble",
    "Clover",
    "Nutmeg",
    "Button",
    "Pebble",
    "Biscuit",
    "Juniper",
    "Poppy",
    "Acorn",
    "Fern",
    "Dot",
    "Plum",
    "Ginger",
    "Barley",
    "Fig",
]

ANIMAL_HOMES = {
    "fox": "in a warm den under an old oak",
    "rabbit": "in a burrow behind the hill",
    "bear": "in a cave at the edge of the woods",
    "mouse": "in a hole under the kitchen floor",
    "duck": "among the reeds of the pond",
    "hedgehog": "under a heap of dry leaves",
    "pig": "in a pen with the best view of the village",
    "frog": "on a flat stone by the water",
    "badger": "in a deep house under the ground",
    "cat": "in a basket beside a warm stove",
    "otter": "on the green bank of the river",
    "mole": "in a long tunnel below the meadow",
    "goat": "in a shed behind the farm",
    "turtle": "at the quiet end of the lake",
    "beaver": "in a round house made of sticks",
    "lamb": "in the field next to the mill",
    "puppy": "in a basket by the farm door",
    "hen": "in a yellow coop near the barn",
    "deer": "where the woods are thick and green",
    "donkey": "in a stable with a blue door",
}
CHILD_HOMES = (
    "in a small house at the end of the lane",
    "in a little village by the sea",
    "in a red house on the hill",
    "above the bakery in a busy street",
    "in a cottage near the woods",
    "on a farm with one lazy cow",
    "in a tall house with a crooked roof",
    "next door to the old mill",
)

HABITS = {
    "curious": ("{a.he} asked questions all day long", "{a.he} wanted to know how everything worked"),
    "kind": ("{a.he} always had time for a friend", "{a.he} never walked past anyone who needed help"),
    "shy": ("{a.he} spoke so softly that people had to lean closer", "{a.he} liked to hide behind doors"),
    "brave": ("{a.he} was not even afraid of thunder", "{a.he} always went first into dark places"),
    "clever": ("{a.he} could solve any riddle", "{a.he} had a new plan every day"),
    "cheerful": ("{a.he} whistled from morning till night", "{a.he} even laughed in {a.his} sleep"),
    "quiet": ("{a.he} noticed small things that others missed", "{a.he} listened more than {a.he} talked"),
    "stubborn": ("{a.he} never gave up", "{a.he} did not like to be told what to do"),
    "patient": ("{a.he} could watch a snail for an hour", "{a.he} never minded waiting"),
    "gentle": ("{a.he} carried beetles off the path", "{a.he} never stepped on a flower"),
    "messy": ("{a.he} could never find both of {a.his} socks", "{a.he} left crumbs wherever {a.he} went"),
    "proud": ("{a.he} did not like to ask for help", "{a.he} held {a.his} nose high in the air"),
    "careful": ("{a.he} looked twice before every step", "{a.he} counted everything three times"),
    "sleepy": ("{a.he} could fall asleep on a fence", "{a.he} yawned at least ten times before breakfast"),
    "funny": ("{a.he} told jokes to the cows", "{a.he} could make even the teacher smile"),
    "busy": ("{a.he} was always in the middle of something", "{a.he} made a list every morning"),
    "dreamy": ("{a.he} saw ships and castles in the clouds", "{a.he} often forgot what day it was"),
    "polite": ("{a.he} said good morning to every tree", "{a.he} never forgot to say thank you"),
}
HOBBIES = (
    "collecting smooth stones",
    "singing silly songs",
    "drawing maps",
    "telling riddles",
    "building towers",
    "counting clouds",
    "baking bread",
    "climbing over fences",
    "sailing paper boats",
    "looking at the stars",
    "jumping over puddles",
    "learning new words",
    "painting pictures of the moon",
    "digging holes",
    "whistling old tunes",
)

TOYS = {  # small things that can be held, and what each may look like
    "ball": "red blue striped green",
    "boat": "wooden little white",
    "drum": "round red wooden",
    "whistle": "silver tin wooden",
    "book": "old blue thick green",
    "hat": "straw blue yellow pointed",
    "scarf": "long red striped woolly",
    "spoon": "wooden silver little",
    "key": "rusty golden silver",
    "bell": "brass little silver",
    "lantern": "paper green old",
    "shell": "pink white curly",
    "button": "shiny golden blue",
    "feather": "white long grey",
    "ribbon": "purple yellow green",
    "basket": "brown round little",
    "cup": "blue white yellow",
    "blanket": "soft patched warm",
    "flute": "wooden thin old",
    "umbrella": "orange black enormous",
    "marble": "green glass yellow",
    "map": "torn old secret",
    "ring": "copper thin golden",
    "doll": "rag wooden tiny",
    "mitten": "warm green woolly",
    "pencil": "short blue yellow",
}
TREASURES = ("ball", "boat", "drum", "whistle", "shell", "marble", "flute", "bell", "doll", "feather", "hat",
             "umbrella")  # fmt: skip
FLYERS = {  # what the wind can carry off
    "kite": "red yellow paper striped",
    "hat": "straw blue green",
    "scarf": "red long striped",
    "balloon": "blue orange round",
    "umbrella": "orange little black",
    "ribbon": "purple green yellow",
}
BREAKABLES = {
    "cup": "blue white yellow",
    "jar": "green glass tall",
    "boat": "wooden white little",
    "flute": "thin wooden old",
    "bowl": "brown round painted",
    "kite": "paper red yellow",
    "clock": "little wooden old",
    "lantern": "paper green round",
}
FOODS = (
    "a slice of plum cake",
    "a loaf of warm bread",
    "a jar of honey",
    "a bowl of berries",
    "a round cheese",
    "an apple pie",
    "a bag of nuts",
    "a plate of pancakes",
    "a basket of pears",
    "a pot of carrot soup",
    "a sweet bun",
    "an oat biscuit",
)


@dataclass(frozen=True)
class Place:
    """Somewhere to be, with the corners one can search and things one may see or hear there."""

    name: str
    preposition: str
    spots: tuple[str, ...]
    details: tuple[str, ...]

    @property
    def at(self) -> str:
        return f"{self.preposition} the {self.name}"

    @property
    def to(self) -> str:
        return f"to the {self.name}"

    def __str__(self) -> str:
        return f"the {self.name}"


PLACES = tuple(
    Place(name, preposition, tuple(spots.split(", ")), tuple(details.split(" / ")))
    for name, preposition, spots, details in (
        ("garden", "in", "under the bench, behind the roses, beside the gate, between the cabbages",
         "A snail crossed the path. / The cabbages stood in a neat row. / The gate creaked."),
        ("woods", "in", "under a fern, behind a mossy log, between the roots, inside a hollow stump",
         "Somewhere a woodpecker knocked. / The leaves whispered to each other. / It smelled of moss."),
        ("pond", "by", "among the reeds, under a flat stone, behind the willow, beside the old boat",
         "A frog jumped into the water. / The water was as smooth as glass. / A dragonfly hung in the air."),
        ("meadow", "in", "in the long grass, behind the fence, under a thistle, beside the path",
         "The grass tickled. / A cricket sang. / A ladybird sat on a leaf."),
        ("hill", "on", "behind the big rock, under the bush, beside the stone wall, near the signpost",
         "From up there, the houses looked like toys. / A goat chewed and stared. / One could see the sea."),
        ("river", "by", "under the bridge, on the bank, behind the boathouse, between two stones",
         "The water hurried along. / A small fish jumped. / Foam danced between the stones."),
        ("field", "in", "under the cart, behind the hay, inside a bucket, beside the scarecrow",
         "It smelled of hay. / The scarecrow waved one sleeve. / A lark sang high above."),
        ("beach", "on", "under the pier, behind a rock, in the sand, beside the blue boat",
         "The waves came and went. / A gull screamed. / The sand was full of tiny footprints."),
        ("orchard", "in", "under the pear tree, behind the wall, inside a basket, beside the ladder",
         "A wasp hummed around a plum. / An apple fell with a thump. / Everything smelled sweet."),
        ("market", "at", "under the flower stall, behind the cheese cart, beside the well, on the steps",
         "Somebody sold hot chestnuts. / A goose escaped and was caught again. / The fish seller sang."),
        ("mill", "at", "behind the wheel, under the stairs, among the flour sacks, beside the door",
         "The great wheel turned and turned. / White flour lay on everything. / The miller waved."),
    )
)  # fmt: skip
CORNERS = ("under the bed", "behind the door", "inside both boots", "under the table", "in the cupboard",
           "behind the stove", "under the pillow")  # fmt: skip
HIDDEN = ("an angry beetle", "a sleeping snail", "an old boot", "three dry leaves", "a very surprised toad",
          "a broken pot", "a spider", "half a sandwich", "a cloud of dust", "somebody's lost sock")  # fmt: skip

WEATHER = {
    "sunny": ("The sky was blue from end to end.", "The sun shone on every roof."),
    "rainy": ("Rain drummed on the roofs.", "The puddles were as big as plates."),
    "windy": ("The wind pulled at everything.", "The trees bowed to each other."),
    "warm": ("The air was soft and sweet.", "Even the bees were lazy."),
    "foggy": ("The fog was as thick as soup.", "The world was white and quiet."),
    "grey": ("The clouds hung low.", "It smelled of rain."),
    "bright": ("Every leaf sparkled.", "The birds were very loud."),
    "cold": ("The grass was white with frost.", "Every breath made a small cloud."),
    "snowy": ("Snow covered the fences.", "The snow squeaked underfoot."),
}
HELPERS = ("an old owl", "the baker", "a tall heron", "an old ram", "the miller", "the shepherd", "the postman",
           "a wise toad", "the gardener", "a friendly crow")  # fmt: skip
CLIMBERS = {  # who can fetch what is stuck high up, and how
    "a friendly crow": "flew up in three beats of its wings",
    "an old owl": "opened one eye and floated up without a sound",
    "a tall heron": "stretched its long neck as far as it could",
    "the gardener": "came with the long ladder and climbed up",
    "a young squirrel": "ran straight up the trunk",
    "the postman": "climbed onto the saddle of his bicycle and reached up",
}
TREES = ("old oak", "apple tree", "tall pine", "chestnut tree", "willow", "pear tree", "birch")
NOISES = {  # a noise in the night, and what it turns out to be
    "tap, tap, tap": "a branch that knocked on the window",
    "scratch, scratch": "a tiny dormouse who was looking for supper",
    "creak, creak": "the garden gate, which nobody had shut",
    "drip, drip, drip": "the old pump, which nobody had turned off",
    "rattle, rattle": "a beetle in an empty tin",
    "hoo, hoo": "a baby owl who could not sleep",
    "thump, thump": "a hare who was practising a dance",
    "clink, clink": "two spoons that danced in the wind",
}
SEEDS = {"sunflower": "as tall as a door", "pumpkin": "as round as the moon", "beanstalk": "as high as the roof",
         "poppy": "as red as fire", "pear tree": "as green as a frog", "tulip": "as yellow as butter"}  # fmt: skip
TASKS = {  # what one can promise to do: the promise, the same in the past, and the one who is glad of it
    "water the tomatoes": ("watered the tomatoes", "the gardener"),
    "feed the hens": ("fed the hens", "the farmer"),
    "ring the evening bell": ("rang the evening bell", "the old teacher"),
    "carry a letter to the mill": ("carried the letter to the mill", "the postman"),
    "bring in the washing": ("brought in the washing", "Grandmother"),
    "light the lamp at the bridge": ("lit the lamp at the bridge", "the ferryman"),
    "take the bread out of the oven": ("took the bread out of the oven", "the baker"),
    "shut the gate of the sheep field": ("shut the gate", "the shepherd"),
}
GAMES = ("hide and seek", "pirates", "kings and queens", "tag", "shops", "dragons", "explorers")

SYNONYMS = {  # a frame's {word} is drawn from here when it is not a slot of the story
    "replied": ("said", "replied", "answered"),
    "cried": ("cried", "shouted", "called", "yelled"),
    "whispered": ("whispered", "murmured"),
    "walked": ("walked", "went", "hurried", "wandered", "skipped", "marched"),
    "ran": ("ran", "raced", "dashed", "rushed"),
    "looked": ("looked", "searched", "peeked"),
    "found": ("found", "discovered", "spotted"),
    "smiled": ("smiled", "grinned", "beamed", "nodded"),
    "laughed": ("laughed", "giggled", "chuckled", "laughed and laughed"),
    "began": ("began", "started"),
    "big": ("big", "huge", "great", "enormous"),
    "little": ("little", "small", "tiny"),
    "happy": ("happy", "glad", "delighted", "cheerful", "pleased"),
    "sad": ("sad", "unhappy", "gloomy", "miserable", "lonely"),
    "afraid": ("afraid", "scared", "frightened", "nervous"),
    "angry": ("angry", "cross", "furious", "grumpy"),
    "tired": ("tired", "sleepy", "weary"),
    "good": ("good", "wonderful", "fine", "splendid", "lovely"),
    "beautiful": ("beautiful", "lovely", "wonderful", "pretty"),
    "very": ("very", "so", "quite", "rather"),
    "carefully": ("carefully", "slowly", "gently", "quietly"),
    "suddenly": ("Suddenly,", "Just then,", "All at once,"),
    "soon": ("Soon", "Before long,", "After a while,", "A little later,"),
    "at_last": ("At last,", "Finally,", "In the end,"),
    "then": ("Then", "After that,", "So"),
    "weekday": ("Monday", "Sunday", "Friday", "Tuesday", "Saturday", "Wednesday", "Thursday"),
    "sigh": ("sighed", "groaned", "sniffed"),
    "idea": ("an idea", "a plan", "a clever idea"),
    "long_time": ("a long time", "an hour", "half the day", "ten minutes"),
    "wondered": ("thought", "wondered"),
}
