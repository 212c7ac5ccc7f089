"""Templates of reminder, meeting, weather, alarm, timer, shopping and translation; see `intents.py`."""

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
