"""Sentence templates of the demo model's fifteen intents.

A template is English with slots: `{who}` is drawn by `slots.py`, `[...]` is left out now and then. The slots that remain
in the sentence are the keys of the JSON answer, in the intent's order. The last `HELD_OUT` templates of every intent are
never trained on: the evaluation uses them to ask in words that the model has not seen.
"""

from __future__ import annotations

HELD_OUT = 2

REMINDER = """
Remind {who} to {task}[ {day}][ {time}].
Remind {who} {day} to {task}.
Remind {who} {day} {time} to {task}.
Remind {who} {time} to {task}.
Set a reminder for {who} to {task}[ {day}][ {time}].
Set a reminder {day} {time} for {who} to {task}.
Create a reminder for {who}: {task}[ {day}][ {time}].
Add a reminder for {who} to {task} {day}.
{who} must not forget to {task}[ {day}][ {time}].
{day} {time}, remind {who} to {task}.
{day} remind {who} to {task}.
I need a reminder for {who} to {task}[ {day}][ {time}].
Make sure {who} remembers to {task}[ {day}][ {time}].
Don't let {who} forget to {task}[ {day}][ {time}].
Tell {who} to remember to {task} {day}.
Could you remind {who} to {task}[ {day}][ {time}]?
Can you remind {who} {day} to {task}?
Would you remind {who} to {task} {time}?
Ping {who} {day} {time} to {task}.
Nudge {who} to {task}[ {day}][ {time}].
Put in a reminder for {who} to {task} {time} {day}.
Reminder for {who}: {task}[ {day}][ {time}].
Reminder: {who} should {task}[ {day}][ {time}].
Give {who} a reminder to {task}[ {day}][ {time}].
See to it that {who} gets reminded to {task}[ {day}][ {time}].
"""

MEETING = """
Schedule a meeting with {with}[ {day}][ {time}].
Schedule a meeting with {with} about {topic}[ {day}][ {time}].
Set up a meeting with {with}[ {day}][ {time}].
Set up a meeting about {topic} with {with}[ {day}][ {time}].
Book a meeting with {with}[ {day}][ {time}].
Book a call with {with} {day}[ {time}].
Arrange a meeting with {with} {day} {time} about {topic}.
Arrange a call with {with} about {topic}[ {day}].
Plan a meeting with {with}[ {day}][ {time}].
Plan a meeting {day} {time} with {with}.
Meet {with} {day}[ {time}].
Meet with {with} {day} {time} about {topic}.
I have a meeting with {with}[ {day}][ {time}].
I want to meet {with}[ {day}][ {time}].
I need to talk to {with} about {topic}[ {day}][ {time}].
Let's meet {with} {day} {time}.
Can you schedule a meeting with {with}[ {day}][ {time}]?
Could you book a call with {with} about {topic} {day}?
Put a meeting with {with} in my calendar {day} {time}.
Put a meeting about {topic} with {with} in my calendar {day}.
Add a meeting with {with} to my calendar {day} {time}.
{day} {time} I meet {with}.
Meeting with {with} {day} {time}.
Meeting about {topic} with {with} {day}.
Fix an appointment with {with}[ {day}][ {time}].
Invite {with} to a meeting about {topic} {day} {time}.
"""

WEATHER = """
What is the weather in {place}[ {day}]?
What's the weather like in {place}[ {day}]?
How is the weather in {place}[ {day}]?
How will the weather be in {place} {day}?
Will it rain in {place}[ {day}]?
Is it going to rain in {place} {day}?
Is it sunny in {place}[ {day}]?
Will it snow in {place} {day}?
Do I need an umbrella in {place}[ {day}]?
Do I need a coat in {place} {day}?
How warm is it in {place}[ {day}]?
How cold will it be in {place} {day}?
Weather in {place}[ {day}].
Weather for {place} {day}.
Show me the weather for {place}[ {day}].
Tell me the weather in {place}[ {day}].
Give me the forecast for {place}[ {day}].
What is the forecast for {place} {day}?
{day}, what will the weather be in {place}?
Check the weather in {place}[ {day}].
What temperature will it be in {place} {day}?
I am going to {place} {day}, what is the weather?
Is it windy in {place}[ {day}]?
Look up the weather in {place}[ {day}].
Can I expect sunshine in {place}[ {day}]?
"""

ALARM = """
Wake me up {time}[ {day}].
Wake me {time}[ {day}].
Wake me up {day} {time}.
Set an alarm {time}[ {day}].
Set an alarm {day} {time}.
Set my alarm {time}[ {day}].
Set the alarm {time} {day}.
Create an alarm {time}[ {day}].
Add an alarm {time}[ {day}].
I need an alarm {time}[ {day}].
I want to get up {time}[ {day}].
I have to get up {time} {day}.
Get me up {time}[ {day}].
Alarm {time}[ {day}].
Alarm {day} {time}.
Turn on an alarm {time}[ {day}].
Can you wake me up {time}[ {day}]?
Could you set an alarm {time}[ {day}]?
Please have me awake {time} {day}.
{day} wake me up {time}.
{day} I have to be up {time}.
Make sure I am awake {time}[ {day}].
Ring me out of bed {time}[ {day}].
I'd like an alarm {time}[ {day}].
"""

TIMER = """
Set a timer for {amount} {unit}.
Set a {amount} {unit} timer.
Set a timer of {amount} {unit} for {label}.
Set a timer for {amount} {unit} for {label}.
Start a timer for {amount} {unit}.
Start a {amount} {unit} timer for {label}.
Start a timer: {amount} {unit}.
Timer for {amount} {unit}.
Timer, {amount} {unit}.
{amount} {unit} timer.
{amount} {unit} for {label}.
Count down {amount} {unit}.
Count down {amount} {unit} for {label}.
Give me {amount} {unit} for {label}.
Tell me when {amount} {unit} are over.
Let me know in {amount} {unit}.
Let me know when {amount} {unit} have passed.
I need a timer for {amount} {unit}.
I need {amount} {unit} for {label}.
Can you set a timer for {amount} {unit}?
Could you start a timer for {amount} {unit}?
Please time {amount} {unit} for {label}.
Begin a countdown of {amount} {unit}.
Call out when {amount} {unit} are up.
"""

SHOPPING = """
Add {items} to the shopping list.
Add {items} to my shopping list.
Add {items} to the list.
Put {items} on the shopping list.
Put {items} on my list.
Buy {items}.
Buy {items} {day}.
I need to buy {items}.
I need to buy {items} {day}.
We need {items}.
We are out of {items}.
We ran out of {items}.
Get {items} from the shop.
Get {items} {day}.
Get me {items}.
Pick up {items} {day}.
Pick up {items} from the store.
Please buy {items}.
Don't forget to buy {items}.
Shopping list: {items}.
I have to get {items}.
Can you add {items} to the shopping list?
Could you put {items} on the list?
Order {items}.
Write {items} down for shopping.
We should really get {items} {day}.
"""

TRANSLATION = """
Translate "{text}" to {language}.
Translate "{text}" into {language}.
Translate '{text}' into {language}.
Translate {text} to {language}.
Translate {text} into {language}.
Translate into {language}: {text}.
Translate to {language}: "{text}".
How do you say "{text}" in {language}?
How do you say {text} in {language}?
How do I say "{text}" in {language}?
How does one say {text} in {language}?
What is "{text}" in {language}?
What is {text} in {language}?
What does "{text}" mean in {language}?
Say "{text}" in {language}.
Say {text} in {language}.
Can you translate "{text}" to {language}?
Could you translate {text} into {language}?
I need "{text}" in {language}.
I want to say "{text}" in {language}.
{language} for "{text}".
Give me "{text}" in {language}.
Tell me how to say "{text}" in {language}.
Please put "{text}" into {language}.
Render "{text}" in {language}.
"""

MESSAGE = """
Tell {to} that {text}.
Tell {to} {text}.
Text {to} that {text}.
Text {to}: {text}.
Send a message to {to}: {text}.
Send a message to {to} saying {text}.
Send {to} a message saying {text}.
Send {to} a message: {text}.
Send a text to {to} saying that {text}.
Write to {to} that {text}.
Write {to} that {text}.
Write a message to {to}: {text}.
Let {to} know that {text}.
Let {to} know {text}.
Message {to}: {text}.
Message {to} that {text}.
Message to {to}: {text}.
Email {to} that {text}.
Send an email to {to}: {text}.
Can you tell {to} that {text}?
Could you let {to} know that {text}?
Inform {to} that {text}.
Give {to} the news that {text}.
Pass on to {to} that {text}.
"""

MUSIC = """
Play {what}.
Play {what} in the {room}.
Play some {what}.
Play some {what} in the {room}.
Play me some {what}.
Put on {what}.
Put on some {what} in the {room}.
Put some {what} on.
Start playing {what}.
Start some {what} in the {room}.
I want to hear {what}.
I want to listen to {what}.
I would like to hear some {what} in the {room}.
Let me hear {what}.
Let's listen to {what}.
Can you play {what}?
Can you play some {what} in the {room}?
Could you put on {what}?
Give me some {what}.
Music: {what}.
In the {room}, play {what}.
Listen to {what}.
I feel like hearing {what}.
Fill the {room} with some {what}.
"""

FLIGHT = """
Book a flight from {from} to {to}[ {day}].
Book a flight to {to}[ {day}].
Book me a flight from {from} to {to}[ {day}].
Book me a flight to {to} {day}.
Find a flight from {from} to {to}[ {day}].
Find flights to {to}[ {day}].
Find me a flight from {from} to {to} {day}.
Search for flights from {from} to {to}[ {day}].
Search flights to {to} {day}.
Show me flights from {from} to {to}[ {day}].
Show flights to {to}[ {day}].
I need a flight from {from} to {to}[ {day}].
I need a flight to {to}[ {day}].
I want to fly from {from} to {to}[ {day}].
I want to fly to {to}[ {day}].
I would like to fly to {to} {day}.
Fly me from {from} to {to} {day}.
Get me a flight to {to} {day}.
Get a ticket from {from} to {to}[ {day}].
Can you book a flight from {from} to {to}[ {day}]?
Could you find a flight to {to} {day}?
{day} I fly from {from} to {to}.
Flights from {from} to {to}[ {day}].
Which flights go from {from} to {to} {day}?
I have to get on a plane from {from} to {to}[ {day}].
"""

LIGHT = """
Turn {state} the light in the {room}.
Turn {state} the lights in the {room}.
Turn the light {state} in the {room}.
Turn the lights in the {room} {state}.
Turn {state} the {room} light.
Turn {state} the {room} lights.
Turn the {room} light {state}.
Turn the {room} lights {state}.
Switch {state} the light in the {room}.
Switch {state} the {room} light.
Switch the {room} light {state}.
Switch the lights in the {room} {state}.
Put the light in the {room} {state}.
Put the {room} light {state}.
{room} light {state}.
{room} lights {state}.
Light {state} in the {room}.
Lights {state} in the {room}.
Can you turn {state} the {room} light?
Could you turn {state} the light in the {room}?
I want the light in the {room} {state}.
I want the {room} lights {state}.
The lights in the {room} should be {state}.
Make sure the {room} light is {state}.
"""

ROUTE = """
How do I get to {to}[ by {by}]?
How do I get to {to} from {from}?
How do I get from {from} to {to}[ by {by}]?
How can I get to {to}[ by {by}]?
What is the way to {to}?
What is the best way to {to}[ by {by}]?
What is the best way from {from} to {to}[ by {by}]?
Show me the way to {to}[ by {by}].
Show me the way from {from} to {to}.
Show me the route to {to}[ by {by}].
Find a route from {from} to {to}[ by {by}].
Find the route to {to}[ by {by}].
Find the way to {to} by {by}.
Navigate to {to}[ by {by}].
Navigate from {from} to {to}.
Take me to {to}[ by {by}].
Give me directions to {to}[ by {by}].
Give me directions from {from} to {to}[ by {by}].
Directions to {to}.
Directions from {from} to {to} by {by}.
I want to go to {to} by {by}.
I need to get from {from} to {to}[ by {by}].
Route from {from} to {to}[ by {by}].
Which way is it to {to} from {from}?
Guide me to {to}[ by {by}].
"""

MATH = """
What is {a} {op} {b}?
What's {a} {op} {b}?
How much is {a} {op} {b}?
Calculate {a} {op} {b}.
Compute {a} {op} {b}.
Work out {a} {op} {b}.
{a} {op} {b}.
{a} {op} {b}?
{a} {op} {b} =
What does {a} {op} {b} make?
What does {a} {op} {b} equal?
What do you get for {a} {op} {b}?
Give me {a} {op} {b}.
Tell me {a} {op} {b}.
Tell me what {a} {op} {b} is.
Can you calculate {a} {op} {b}?
Could you work out {a} {op} {b}?
I need {a} {op} {b}.
I want to know {a} {op} {b}.
Solve {a} {op} {b}.
Do the sum {a} {op} {b}.
Find {a} {op} {b}.
Evaluate {a} {op} {b}.
Say how much {a} {op} {b} comes to.
"""

NOTE = """
Take a note: {text}.
Take a note that {text}.
Make a note: {text}.
Make a note that {text}.
Make a note saying {text}.
Note that {text}.
Note: {text}.
Note down that {text}.
Note down: {text}.
Write down that {text}.
Write down: {text}.
Write a note: {text}.
Write a note that {text}.
Add a note: {text}.
Add a note saying that {text}.
Add to my notes that {text}.
New note: {text}.
Save a note: {text}.
Save the note that {text}.
Please note that {text}.
Can you take a note that {text}?
Could you write down that {text}?
Keep in mind that {text}.
Jot down that {text}.
Put in my notes: {text}.
"""

TABLE = """
Book a table for {people} at {place}[ {day}][ {time}].
Book a table for {people}[ {day}][ {time}].
Book a table at {place} for {people}[ {day}][ {time}].
Book a table at {place} {day} {time} for {people}.
Reserve a table for {people} at {place}[ {day}][ {time}].
Reserve a table for {people}[ {day}][ {time}].
Reserve a table at {place} for {people} {day}.
Reserve a table {day} {time} for {people}.
Get a table for {people} at {place}[ {day}][ {time}].
Get us a table for {people} {day} {time}.
I need a table for {people}[ {day}][ {time}].
I need a table for {people} at {place} {day}.
I want a table for {people} at {place}[ {day}][ {time}].
I would like a table for {people}[ {day}][ {time}].
Table for {people} at {place}[ {day}][ {time}].
Table for {people}[ {day}][ {time}].
A table for {people} {day} {time}.
A table for {people} at {place}, please.
Can you book a table for {people} at {place}[ {day}][ {time}]?
Can you reserve a table for {people} {day} {time}?
Could you get a table for {people} at {place} {day}?
We are {people} people and want to eat at {place} {day} {time}.
Make a reservation for {people} at {place}[ {day}][ {time}].
Make a reservation for {people} {day} {time}.
Dinner for {people} at {place}[ {day}][ {time}].
Find a table at {place} for {people} people {day}.
"""

ORDER = {
    "reminder": ("who", "task", "day", "time"),
    "meeting": ("with", "topic", "day", "time"),
    "weather": ("place", "day"),
    "alarm": ("time", "day"),
    "timer": ("amount", "unit", "label"),
    "shopping": ("items", "day"),
    "translation": ("text", "language"),
    "message": ("to", "text"),
    "music": ("what", "room"),
    "flight": ("from", "to", "day"),
    "light": ("room", "state"),
    "route": ("from", "to", "by"),
    "math": ("op", "a", "b"),
    "note": ("text",),
    "table": ("people", "place", "day", "time"),
}

_TEXT = {
    "reminder": REMINDER,
    "meeting": MEETING,
    "weather": WEATHER,
    "alarm": ALARM,
    "timer": TIMER,
    "shopping": SHOPPING,
    "translation": TRANSLATION,
    "message": MESSAGE,
    "music": MUSIC,
    "flight": FLIGHT,
    "light": LIGHT,
    "route": ROUTE,
    "math": MATH,
    "note": NOTE,
    "table": TABLE,
}

TEMPLATES = {name: tuple(text.strip().splitlines()) for name, text in _TEXT.items()}
TRAINED = {name: lines[:-HELD_OUT] for name, lines in TEMPLATES.items()}
UNSEEN = {name: lines[-HELD_OUT:] for name, lines in TEMPLATES.items()}
