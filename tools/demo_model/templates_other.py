"""Templates of message, music, flight, light, route, math, note and table; see `intents.py`."""

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
