"""The words that fill the slots of the templates.

Each list is one text with bars between its entries. The order matters: which entries only the evaluation may draw
follows from their places.
"""


def entries(text: str) -> list[str]:
    """Splits a bar-separated list, undoing its line breaks."""
    return [" ".join(entry.split()) for entry in text.split("|")]


NAMES = entries(
    """
Alice|Bob|Carol|Dave|Erin|Frank|Grace|Henry|Ivan|Judy|Karl|Laura|Mallory|Nina|Oscar|Peggy|Quentin|Rita|Steve|Tom|Uma|
Victor|Wendy|Xavier|Yara|Zoe|Anna|Ben|Clara|David|Emma|Felix|Gina|Hugo|Ines|Jack|Kate|Leo|Mia|Noah|Olivia|Paul|Rosa|
Sam|Tina|Ursula|Vera|Will|Yusuf|Zara|Adam|Bella|Chris|Diana|Elias|Fiona|George|Hannah|Isaac|Julia|Kevin|Lena|Martin|
Nora|Omar|Petra|Ralph|Sarah|Theo|Vanessa|Walter|Amir|Bianca|Cyrus|Daria|Edgar|Farah|Gustav|Helga|Igor|Jana|Kofi|
Linda|Marco|Nadia|Otto|Priya|Rahul|Sofia|Tariq|Ulrich|Viola|Wanda|Yuki|Anders|Beatrice|Carlos|Dominik|Esther|Fatima|
Gerard|Hiro|Irene|Joel|Kim|Lucas|Maria|Nils|Olga|Pedro|Rachel|Simon|Teresa|Mum|Dad|Grandma|Jessica|Michael|Peter|
Susan|Thomas"""
)
PLACES = entries(
    """
Paris|London|Berlin|Rome|Madrid|Vienna|Lisbon|Oslo|Dublin|Prague|Athens|Helsinki|Warsaw|Budapest|Zurich|Geneva|
Hamburg|Munich|Cologne|Milan|Naples|Venice|Barcelona|Seville|Porto|Lyon|Nice|Brussels|Amsterdam|Copenhagen|Stockholm|
Boston|Chicago|Denver|Seattle|Dallas|Miami|Toronto|Montreal|Tokyo|Kyoto|Osaka|Seoul|Delhi|Mumbai|Lima|Quito|Cairo|
Nairobi|Lagos|Accra|Sydney|Perth|Auckland|Istanbul|Dubai|Moscow|Riga|Tallinn|Vilnius|Krakow|Bergen|Malmo|Turin|
Bologna|Leeds|Bristol|Glasgow|Edinburgh|Cardiff|Belfast|Bonn|Dresden|Leipzig|Basel|Salzburg|Graz|Split|Sofia|
Bucharest"""
)
TARGETS = entries(
    """
the station|the airport|the museum|the library|the hospital|the office|the beach|the old town|the city hall|
the harbour|the market|the zoo|the park|the university|the nearest pharmacy|the bus stop|the castle|the stadium|
the hotel|the post office|the town square|the theatre|the supermarket|the swimming pool|the cathedral|the garage|
the lake|my house"""
)
OBJECTS = entries(
    """
the report|the invoice|the contract|the slides|the tickets|the keys|the book|the letter|the parcel|the bill|the rent|
the budget|the form|the photos|the laptop|the door|the windows|the car|the bike|the plants|the dog|the cat|
the kitchen|the dishes|the garden|the laundry|the printer|the backup|the server|the passport|the medicine|the cake|
the rubbish|the roof|the shoes|the newsletter|the draft|the code|the test results|the insurance"""
)
VERBS = entries(
    """
send|check|sign|bring|find|read|finish|review|print|collect|fix|clean|return|move|pay for|look after|photograph|
measure|update|copy|order|test|pick up|take care of|write about|ask about|prepare|close|open|sort out"""
)
TASKS = entries(
    """
drink some water|take a break|go for a walk|do the homework|go to bed|book the hotel|renew the licence|
charge the phone|see the dentist|feed the fish|water the flowers|take out the bins|buy a present|book a haircut|
lock up|call the plumber|practise the piano|stretch|cancel the subscription|do the taxes|make lunch|
turn off the oven|go jogging"""
)
TOPICS = entries(
    """
the budget|the new design|the launch|the project|hiring|the roadmap|sales|the contract|the release|security|
the website|travel plans|the move|marketing|the results|the party|next year|the merger|the database|training|
the exhibition"""
)
ITEMS = entries(
    """
milk|eggs|bread|butter|cheese|apples|bananas|rice|pasta|tomatoes|onions|potatoes|coffee|tea|sugar|flour|salt|honey|
olive oil|yoghurt|chicken|fish|carrots|lemons|oranges|soap|toothpaste|batteries|candles|cat food|orange juice|
chocolate|mushrooms|garlic|spinach|cucumbers|jam|nuts|napkins|light bulbs|toilet paper|dog food|pears|grapes|beans|
vinegar"""
)
PHRASES = entries(
    """
good morning|good night|thank you|where is the station|I am hungry|how much is it|see you tomorrow|I love you|
the bill, please|where are you from|happy birthday|I do not understand|two coffees, please|excuse me|good luck|
what time is it|I am lost|the cat is black|my name is Anna|have a nice day|welcome home|can you help me|
the train is late|it is cold today|I like bread|where is my bag|see you soon|no problem|the house is big|
I would like some water|we are on holiday|good evening"""
)
LANGUAGES = entries(
    """
French|German|Spanish|Italian|Portuguese|Dutch|Swedish|Polish|Greek|Turkish|Japanese|Chinese|Korean|Arabic|Hindi|
Finnish|Danish|Czech|Russian|Latin|Norwegian|Hungarian"""
)
GENRES = entries(
    """
jazz|rock|classical music|pop|hip hop|techno|blues|folk music|reggae|piano music|Mozart|Bach|Chopin|Vivaldi|
country music|opera|soul|heavy metal|lullabies|Christmas songs|film music|salsa|guitar music|whale sounds|Beethoven|
Handel"""
)
ROOMS = entries(
    """
kitchen|living room|bedroom|bathroom|hallway|garage|cellar|office|dining room|attic|nursery|garden|study|guest room|
workshop|balcony"""
)
LABELS = entries(
    """
the pasta|the eggs|the tea|the cake|the pizza|the rice|a nap|the workout|the laundry|a break|the meeting|the oven|
reading"""
)
WEEKDAYS = entries(
    """
Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"""
)
MONTHS = entries(
    """
January|February|March|April|May|June|July|August|September|October|November|December"""
)
SUBJECTS = entries(
    """
the meeting|the train|the package|dinner|the car|the doctor|the plan|our flight|the game|the shop|lunch|the lesson|
the concert|the report|the key|the wifi password|the gate code|the dog|the heating|the party"""
)
PREDICATES = entries(
    """
is late|is ready|is cancelled|has arrived|is at the front door|starts soon|is too expensive|was great|
needs more time|is on the table|has moved to Friday|is fine again|is closed today|is broken|takes two hours|
costs 40 euros|is upstairs|will be tomorrow|is in the blue box|has been paid"""
)
FEELINGS = entries(
    """
I am late|I am on my way|I will call back|I miss them|I am at home|I cannot come|we won|dinner is ready|all is well|
I am ill"""
)
HOUR_WORDS = entries(
    """
one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"""
)
CONSONANTS = entries(
    """
b|c|d|f|g|h|j|k|l|m|n|p|r|s|t|v|w|z|br|ch|cl|dr|fr|gr|kr|pl|pr|sh|sl|st|th|tr"""
)
VOWELS = entries(
    """
a|e|i|o|u|a|e|i|o|ai|ea|ee|ia|io|ou"""
)
ENDINGS = entries(
    """
n|r|s|l|ra|na|lo|mi|ta|k|x|th|nd|ro|sa|vin|la"""
)
