"""Writes the sample corpus of configs/sample: invented news in CoNLL-2003 columns.

    python scripts/make_sample.py [--out DIR] [--seed N]

Every name and every sentence pattern below was written for this project. A pattern is a line of tokens:

    {town}       a slot: a name (ENTITIES), a phrase (PHRASES) or a number (NUMBERS)
    [a|b c|]     a random choice; with an empty alternative, the choice is optional
    word/TAG     a word with its Penn tag, word/TAG/CHUNK also with its chunk type; only where `tag_word` and
                 `chunk_type` return something else
    ~            the next token starts a new chunk of the same type
    ^word        a word in upper case; ^ alone at the start puts the whole sentence in upper case

NAME_ROTA and PATTERN_ROTA assign each name and pattern to files by its index in the list. Files share most other words;
most names and patterns of valid.txt and test.txt never occur in train.txt.
"""

import argparse
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "configs" / "sample"
SENTENCES = {"train": 800, "valid": 200, "test": 200}
LENGTHS = range(4, 36)  # tokens in a sentence
DOCUMENT_LENGTHS = range(6, 15)  # sentences in a document
GENERAL_PATTERNS = 3  # maximum number of sentences from GENERAL in a document
REUSE = 0.35  # probability that a slot repeats a name of the document
TYPES = ("PER", "LOC", "ORG", "MISC")

# The file that may use an entry, by its index modulo the length of the rota; "shared" means all files except news.
NAME_ROTA = """train test train valid train shared train news train test
train valid shared train test news valid train shared train"""
PATTERN_ROTA = "train valid train test shared train test train valid train"

NAMES = {
    "first": """
    Anna Peter Maria Tomas Grace Victor Elena Mark Ingrid Samuel Rosa Daniel May Igor Helen Luis Nadia Oscar Ruth Felix
    Clara Stefan Amina Hugo Irene Pavel Summer Dennis Leila Marco Judith Kofi Sonia Ralph Yara Anton Hope Miguel Vera
    Noel Carla Emil Priya Jonas Alma Bruno Tara Will Olga Rafael June Henrik Lucia Omar Edith Klaus Paula Simon Zora
    Arthur Dora Nikolai Esther Pablo Greta Walter Mina Carlos Faith Viktor Nora Ahmed Sylvia Lars Teresa Gordon Milan
    Ivy Ruben Petra Austin Lena Boris Joy Marcus Selma Diego Agnes Florence Tariq Bella Otto Chase Monika Ernest Dawn
    Jorge Heidi Frank Rita""",
    "last": """
    Harwick Tolvson Marenova Ibarrez Denby Oskarsen Brunelli Stone Karvonen Wexford Dragomirov Salvatez Price Lindahl
    Kovarska Ashby Petterson Castellini Marsh Orlovski Fernandez Rudkin Bell Halvorsen Menendez Calder Zelenova Thorson
    Frost Bianchetti Yardley Novakova Gutierrez Banks Eriksen Podolski Lorne Martinova Reed Jasperson Valdez Snow
    Rosselini Hartford Gromova Enriquez Bishop Sandersen Malinski Waters Vasiliev Albertson Domenez King Kuznarova
    Ramsford Tellini Young Mikkelsen Baranski Quill Ostrova Robertson Juarez Park Fontanelli Dahlberg Cook Semenova
    Ollerton Velasquez Bright Nordahlsen Wisniak Field Antonova Gustafson Morez Hart Pellegrini Brackley Carver
    Stepanova Olafson Lopez Wells Jorgensen Tomaszewski Rose Larkford Ivarson Cardenez Mills Damiani Selby Bogdanova
    Hendrikson Ordonez Judge Rasmussen Kaminski Lake Pavlenko Edelson Quintez Temple Guidetti Morland Drazhova
    Magnuson Benitez West Sorensen Zaleski Hill""",
    "settlement": """
    Harwick Ostrograd Denby Marlford Ashville Tarnmouth Lindstad Calder Wendleton Krasnoburg Hope Port_Selwyn Brackford
    Santa_Brisa Oldenburgh Millville Vastograd Selby Thornby Greywick Lorne Esterburg Hartford_Bay Mossville Rudgrad
    Pelham_Cross Dunmouth Stone Karlstad_West Bramford Novograd San_Tomero Elmville Wexford Hallenburg Quarry Finchby
    Torrville Belgorsk Sandwick Marsh Aldmouth Kestburg Redford Las_Palomas Ambleton Petroburg Bright Juniperville
    Stavenby Coldwick Rose Ulmgrad Fairmouth Gartenburg Rockford_Mills Wells Villanova_Alta Hexby Birchton Sorograd
    Whitford Park Langburg Oxmouth Clayville Riverton El_Carmen Norrstad Bishop Averby Muldwick Zelenograd_East Pineford
    Kingsburg Orchard Danville_Falls Shelmouth Tverburg Banks Glenford Los_Robles Hammerby Cedarville Rostovgrad Field
    Wickmouth Edenburg Stanford_Hill Ramsby Leestad Santa_Noria Temple Copperton Hillsburg Fernwick Baskerville_Point
    Volgorsk Maidenford Summit""",
    "state": """
    Velmaria Tornia Kestland Sundal Oradesh Bravonia Ardistan Norvania Callesia Zembara Lutonia Ferrania Marrakan
    Issland Hestonia Pelagia Quorania Dravinia Tamoria Sileria Wendland Azania_Norte Borduria_Sul Kirovia Malvesia
    Thessaria Ustan Rovinia Gallandia Eastmark Corvania Javandar Mirandia Skandia Polvania Nambira Castoria Ulvania
    Renland Vintara""",
    "nation": """
    Velmarian Tornian Kestish Sundalese Oradeshi Bravonian Ardistani Norvanian Callesian Zembarese Lutonian Ferranian
    Marrakese Isslandish Hestonian Pelagian Quoranian Dravinian Tamorian Silerian Wendish Azanian Bordurese Kirovian
    Malvesian Thessarian Ustani Rovinian Gallandish Eastmarkian Corvanian Javandarese Mirandian Skandish Polvanian
    Nambirese Castorian Ulvanian Renlandish Vintarese""",
    "land": """
    Wend Kessel Orsa Tarn Calder Brisa Murrow Elva Lorne Skerry Dravin Hollow Aster Quill Nordal Sable Pinto Ravensk
    Olme Thistle Varga Copper Seld Heron Marl Ostra Grimmel Juniper Torr Cassia Falk Eider Rune Salt Ventra Birch
    Alder Moss Corran Zirel""",
    "firm": """
    Norvex Calder Brightline Altrix Orchard Denbytech Solvanta Summit Petrolux Harwick Genorix Lumatek Quill Transmar
    Beacon Veltronics Agrimax Stone Omnitel Kestrel Ferrotek Rose Polychem Dataline Horizon Medivax Wendel Pioneer
    Oceanix Temple Cargomar Bright Infomatics Delta Nutrivia Electrona Park Steelmar Fidelis Marsh Aerovia Compass
    Biolinx Frost Unitrade Vitrex King Banks Autonova Harbour Telcoma Lorne Maxwood Plasmatek Anchor Novagen Selby
    Roboflex Granite Sunmar""",
    "field": """
    Health Finance Trade Justice Energy Transport Labour Education Defence Fisheries Agriculture Culture Science Tourism
    Industry Housing Interior Mines Environment Planning Water Sport Forestry Communications""",
    "creed": """
    Liberal Reform Progress National_Unity Green Workers_' Centre Democratic_Renewal People_'s Farmers_' Freedom
    Social_Action Homeland Civic_Justice New_Republic Labour_Alliance Conservative_Union United_Left Popular_Front
    Republican_Way""",
    "acronym": """
    NRU WTCO ABF KTR-Trust UDPF IRGA BNS FSK KOTU MRLA TNB EWAC PLC-North SVO GTU HRFA ZNP ILDO RQA NWF""",
    "nick": """
    Falcons Otters Miners Rangers Badgers Comets Pilots Foxes Giants Stags Hornets Sailors Ravens Kings Bears Blues
    Lancers Wolves Harriers Storm""",
    "wire": """
    Northern_Press Telepress Coast_News_Agency Interwire Union_Newswire Continental_Press Radio_Meridian Capital_News
    Channel_Sixty Press_Bureau TASN Eastern_Wire Metro_Radio State_News_Agency Globalwire Voice_News Daily_Dispatch
    Newsline Harbour_Radio ANR""",
    "work": """
    The_Glass_Orchard Winter_Accounts A_Map_of_Rain The_Last_Ferry Salt_and_Iron Seven_Doors The_Quiet_Engine
    Letters_to_Nobody Paper_Kings The_Cartographer Blue_Hour A_Season_of_Dust Northern_Lights_Hotel The_Clockmaker
    Stone_Garden Night_Market The_Long_Table Borrowed_Summer House_of_Reeds A_Small_Thunder The_Third_Bridge Low_Tide
    Ashes_of_May The_Weather_Station Silver_Roads An_Honest_Liar The_Heron Saturday_People Under_the_Hill Black_Snow
    The_Translator Open_Water Good_Neighbours The_Iron_Rose Half_a_Kingdom Dust_Songs Mother_of_Rivers The_Tenth_Man
    Morning_Train Wild_Apples""",
    "model": """
    X5 300 Swift Orion GT7 Pathway 9000 Vela Nimbus T-40 Breeze Lynx 2000 Corsair M1 Spark Atlas R8 Zephyr Solo""",
    "award": """
    Laurel Golden_Lantern Meridian Sorel Silver_Quill Founders_' Harbour Critics_' Evergreen Northern_Star Bronze_Leaf
    Pathfinder Golden_Oak Torch Ivory_Tower Bluebell Crown Compass Granite Aurora""",
}

# The entity type and the pattern of each slot that is a name; the slots of these patterns are keys of NAMES or PHRASES.
ENTITIES = {
    "per": ("PER", "[{first} {last}|{first} {last}|{first} {last}|{first} {last}|{first} {initial} {last}]"),
    "player": ("PER", "[{first} {last}|{first} {last}|{initial} {last}|{last}]"),
    "town": (
        "LOC",
        "[{settlement}|{settlement}|{settlement}|{settlement}|{settlement}|[New|Lower|North] {settlement}]",
    ),
    "country": ("LOC", "{state}"),
    "place": (
        "LOC",
        "[Mount {land}|Lake {land}|Cape {land}|Port {land}|{land} [Bay|Island|Point]|[Upper|East|South] {land}"
        "|{settlement} [Airport|Park|Bridge|Square|Road]]",
    ),
    "river": ("LOC", "[River {land}|{land} [River|Valley|Canal|Forest|Mountains/NNPS]|Gulf of {land}|{land} Sea]"),
    "arena": ("LOC", "[{settlement}|{land}|{last}] [Stadium|Arena|Park|Hall]"),
    "company": (
        "ORG",
        "[{firm}|{firm} {legal}|{firm} {legal}|{last} [&|and/CC/NP] Sons/NNPS|{nation}/JJ [Oil|Airways|Telecom]"
        "|{settlement} [Motors/NNPS|Steel|Airlines/NNPS|Foods/NNPS|Insurance]]",
    ),
    "firm_name": ("ORG", "{firm}"),
    "bank": ("ORG", "[Bank of {settlement}|Bank of {state}|{firm} Bank|{settlement} Savings Bank|{last} Securities]"),
    "school": ("ORG", "[{settlement} University|University of {settlement}|{last} College|{field} Research Institute]"),
    "body": (
        "ORG",
        "[Ministry of {field}|{field} Ministry|{acronym}|{acronym}|{settlement} [City|District] Council"
        "|National Union of [Teachers|Miners|Nurses]/NNPS|{nation}/JJ [Red Cross|Football Federation|Navy]"
        "|{settlement} General Hospital|{nation}/JJ Supreme Court|{field} Commission]",
    ),
    "party": ("ORG", "[{creed} Party|{creed} Party|{creed} Movement|{acronym}]"),
    "team": ("ORG", "[{settlement}|{settlement}|{settlement}|{settlement} {club}|{settlement} {nick}|{club} {land}]"),
    "nick_team": ("ORG", "[{nick}|{nick}|{settlement} {nick}]"),
    "press": ("ORG", "[{wire}|{settlement} [Herald|Gazette|Post|Courier]]"),
    "museum": (
        "ORG",
        "[{settlement} [Museum|Opera|Symphony Orchestra]|{last} Gallery|{firm} [Records|Books|Films]/NNPS]",
    ),
    "nat": ("MISC", "{nation}/JJ"),
    "native": ("MISC", "{nation}"),
    "cup": (
        "MISC",
        "[{settlement} [Open|Marathon|Classic]|{nation}/JJ [Open|Cup|Grand Prix]|{land} [Cup|Trophy|Shield]"
        "|{firm} [Cup|Masters]|World Cup]",
    ),
    "work": ("MISC", "{work}"),
    "prize": ("MISC", "{award} [Prize|Award|Medal]"),
    "pact": ("MISC", "[{settlement} [Accord|Agreement|Declaration]|Treaty of {settlement}|{land} Convention]"),
    "festival": (
        "MISC",
        "[{settlement} [Book Fair|Film Festival|Biennale]|[Battle|Siege] of {settlement}|{land} Games]",
    ),
    "product": ("MISC", "{firm} {model}"),
}

PHRASES = {
    "initial": "[A.|B.|C.|D.|F.|H.|J.|K.|L.|M.|P.|R.|S.|T.|V.]",
    "legal": "[Inc|Ltd|Group|Holdings|Corp]",
    "club": "[United|Rovers|City|Athletic|Wanderers|Sporting|Dynamo|FC]",
    "day": "[Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday]",
    "month": "[January|February|March|April|May|June|July|August|September|October|November|December]",
    "date": "{month} {dom}",
    "when": (
        "[on {day}|on {day}|on {day} [morning|evening|night]|late/RB/ADVP on {day}|~ last [week|month|year]|in {month}"
        "|~ {day}|on {month} {dom}|earlier/RB/ADVP ~ this week|in {year}]"
    ),
    "dateline": "^{town} [, {date}|( {press} )|, {country} , {date} ( {press} )|{iso}] --",
    "title": "[President|President|Prime Minister|Senator|Governor|Chancellor|Foreign Minister|General|Ambassador]",
    "money": "[$ {pct} [million|million|billion]|{num} million crowns]",
    "share": "[{pct} percent|nearly/RB/NP {num} percent|about/RB/NP {num} percent]",
    "boss": "[chairman|chief executive|spokesman|spokeswoman|finance director|managing director|president|head]",
    "staff": "[workers|drivers|engineers|miners|nurses|teachers|pilots|farmers]",
    "goods": "[cars|shoes|steel|paper|turbines|medicines|coffee|bicycles|copper|telephones|timber|machine tools]",
    "law": "[pensions bill|budget|fishing treaty|electoral law|land reform|energy plan|tax code]",
    "said": "[said|said|told reporters|told {press}|added|told a news conference]",
    "player_role": "[striker|goalkeeper|captain|midfielder|winger|defender|forward]",
    "storm": "[storm|flood|earthquake|blizzard|drought|landslide|forest fire|hurricane]",
    "crime": "[fraud|theft|bribery|arson|smuggling|tax evasion|perjury]",
    "artist": "[novelist|composer|painter|singer|director|poet|sculptor|pianist]",
    "scholar": "[biologist|economist|astronomer|geologist|chemist|physicist|historian]",
    "many": "[two|three|four|five|six|seven|a dozen|about/RB/NP {num}|more/JJR than/IN/NP {num}|{num}]",
}

NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "num": lambda rng: str(rng.randrange(11, 99)),
    "small": lambda rng: str(rng.randrange(0, 6)),
    "place_no": lambda rng: f"{rng.randrange(1, 9)}.",
    "dom": lambda rng: str(rng.randrange(1, 29)),
    "year": lambda rng: str(rng.randrange(1962, 2024)),
    "iso": lambda rng: f"{rng.randrange(1990, 2024)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
    "pct": lambda rng: f"{rng.randrange(1, 20)}.{rng.randrange(1, 10)}",
    "thousand": lambda rng: f"{rng.randrange(1, 90)},{rng.randrange(0, 1000, 50):03}",
    "score": lambda rng: f"{rng.randrange(3, 7)}-{rng.randrange(0, 3)}",
    "level": lambda rng: rng.choice(("0-0", "1-1", "2-2", "3-3")),
    "set": lambda rng: rng.choice(("6-4", "6-3", "7-5", "6-1", "3-6", "7-6", "6-2", "4-6")),
    "clock": lambda rng: f"{rng.randrange(1, 4)}:{rng.randrange(10, 60)}.{rng.randrange(10, 100)}",
    "points": lambda rng: str(rng.randrange(3, 70)),
    "age": lambda rng: str(rng.randrange(18, 80)),
}

GENERAL = """
" [we|they] have/VBP waited [years|months] for this , " {per} {said} .
{per} , {age} , lives in {town} with [two children|an uncle|three cats] and works for {company} .
{surname} said there were no [plans|reasons] to [leave|resign|speak again] before {month} .
" it is a [good|sad|great] day for {town} , " said {per} of the {body} .
officials in {town} [declined|refused] to comment {when} .
the [decision|report|news] was first/RB [published|reported] by {press} {when} .
{press} quoted {surname} as saying/VBG the [talks|plans] were/VBD [dead|over]/JJ/ADJP .
a [spokesman|spokeswoman] for {company} confirmed the [report|figures] but gave no [details|reason] .
in {town} , {many} people [marched|gathered] outside the offices of {body} {when} .
neither/CC {surname} nor {company} could be reached/VBN for comment .
{surname} was born/VBN in {town} , near the {nat} border , and studied at {school} .
{per} was not [available|ready]/JJ/ADJP to comment , an aide [in {town} |]said .
according/VBG/PP to {press} , {per} will meet {per} in {town} {when} .
[many|few|most] {nat} voters have never/RB/VP heard/VBN of {surname} , a poll for {press} showed .
the {body} [published|released] its [yearly|second|final] report {when} .
{many} {nat} {staff} [travelled|flew] to {town} {when} to meet {title} {per} .
asked/VBN about {town} , {surname} smiled and said : " Ask/VB {per} . "
{surname} [replied|answered] that nobody in {country} had [seen|read]/VBN the letter .
the letter , signed/VBN by {per} and {per} , was sent/VBN to the {body} {when} .
" nothing has changed , " {surname} [said|insisted] after a [short|long] meeting with {per} [in {town}|] .
there is little hope of that , [said|warned] {per} , who/WP heads {company} in {country} .
both {country} and {country} have [backed|criticised] the {pact} .
[on {day}|last {month}] , {surname} moved from {town} to {town} to join {company} .
the road from {town} to {town} was [closed|blocked] {when} .
the {nat} [embassy|ambassador] in {town} said it had asked the {body} for help .
further/JJ talks between {country} , {country} and {country} are planned for {month} .
{title} {surname} thanked the {body} [for its work|] and left for {town} .
[police|witnesses|doctors] said {per} , a {age} - year-old/JJ [teacher|driver|nurse] , was among the [guests|victims] .
[reporters|visitors] were kept/VBN away/RB/ADVP from {place} {when} .
in a [letter|message] to {press} , {surname} blamed {title} {per} [and the {body}|] .
it was the [first|third|worst] such/JJ case in {country} since {year} .
{per} and a cousin , {per} , run/VBP a small [hotel|farm|shop] near {place} .
[March|May|Summer] is the [best|worst] month for {company} , {surname} {said} .
will/MD/VP {surname} go to {town} ? [Nobody/NN|No/DT one/NN] at {company} would say .
for the people of {place} , [Monday|Sunday] began like/IN any other day .
{surname} , whose/WP$ father came/VBD from {town} , speaks {native} and some {native} .
the {body} , based/VBN in {town} , has {thousand} members in {country} .
last/JJ {month} {surname} bought a house in {place} from {per} .
on {day} {press} said {company} had paid for the trip to/TO/PP {town} .
{per} has since/RB left {country} and now/RB/ADVP teaches/VBZ at {school} .
the {native} is due/JJ/ADJP in {town} on {day} , said an aide to/TO/PP {title} {surname} .
few people in {town} know/VBP where/WRB/ADVP {surname} went .
[hundreds|dozens] of {nat} students wrote to/TO/PP {press} about {surname} .
{company} , which/WDT owns/VBZ {company} , [refused|agreed] to pay for the work in {town} .
" i want/VBP to thank {country} , " {per} told a crowd near {place} .
as/IN/SBAR {press} went to print , {per} was still/RB in {town} .
{surname} , like/IN most {native} exiles , lives in {town} or {town} .
a {firm_name} [van|helicopter] took {per} from {place} to {town} .
they met in {town} , {town} and then/RB/ADVP {town} , but {surname} never/RB/ADVP came back/RB/ADVP .
[Friday|April|Spring] will tell/VB whether/IN/SBAR {per} or {per} was right/JJ/ADJP .
sources close/JJ/ADJP to/TO/PP the {body} put/VBP the [cost|bill] at {money} .
" {surname} knows/VBZ {town} well/RB/ADVP , " said {per} of {press} .
no [flights|trains] left {town} for {country} {when} , {company} said .
{per} ( {party} ) and {per} ( {party} ) sat/VBD on the {body} .
it will be the first visit to/TO/PP {country} by a {nat} leader/NN in {num} years .
schools/NNS in {town} , {town} and {town} stay/VBP shut/VBN until {day} .
{title} {surname} was taken/VBN to {body} after a fall at {place} .
mail/NN for {per} should be sent/VBN to {company} , {town} , {country} .
( writing by {per} in {town} ; editing by {per} )
{press} [newsroom|bureau] , {town} , telephone {num} {num} {num}
"""

TOPICS = {
    "politics": """
^ {country} and {country} sign/VBP border pact
^ {nat} parliament rejects {law}
^ {surname} wins vote in {town}
^ {party} leads poll in {country}
^ {country} recalls envoy from {town}
the {nat} government [said|announced] {when} that it would [raise|cut|freeze] [taxes|wages] by {share} .
{title} {per} [arrived|landed] in {town} {when} for talks with {nat} [minister|envoy] {per} .
{title} {surname} [won|lost] a vote of confidence by {num} votes to/TO/PP {num} .
the [opposition|ruling/VBG/NP] {party} [rejected|welcomed] the {law} [, calling/VBG it a mistake|] .
{per} of the {party} said the {law} would [hurt|help] {staff} [in {country}|] .
the {party} and the {party} failed to form a government after {many} days of talks .
{country} and {country} signed the {pact} in {town} {when} .
voters in {town} go/VBP to the polls on {day} to choose between {per} and {per} .
{surname} , who/WP led the {party} until {year} , accused {title} {per} of breaking/VBG the {pact} .
with {share} of the votes counted/VBN , {per} of the {party} led in {town} [and {town}|] .
[envoys|ministers] from {country} , {country} and {country} will meet in {town} to discuss the {law} .
{country} expelled {many} {nat} diplomats {when} .
the {nat} [army|navy] [denied|confirmed] reports of fighting/NN near {place} .
[rebels|troops] held the town of {town} , {num} km from {place} , {surname} said .
parliament passed the {law} by {num} votes to/TO/PP {num} [after an all-night debate|] .
{title} {surname} dismissed {per} as head of the {body} {when} .
{per} , a former/JJ [mayor|governor] of {town} , will stand for the {party} in {month} .
the {body} ordered a new count of votes in {town} and {place} .
[thousands|hundreds] of {party} supporters filled the streets of {town} to hear {per} .
in the {country} capital/NN {town} , {title} {surname} named/VBD {per} to the {body} .
under/IN the {pact} , {country} will return {many} islands in the {river} .
""",
    "business": """
^ {company} profit rises {num} percent
^ {company} to buy {company} for $ {num} million
^ {bank} cuts rates as/IN/SBAR {country} slows
^ {nat} shares fall on {company} news
{company} said {when} it would buy {company} [of {town} |]for {money} .
shares in {company} [rose|fell] {share} to/TO/PP {num} crowns [in {town}|] {when} .
{per} , {boss} of {company} , said sales of {goods} in {country} had [doubled|slowed|fallen/VBN] .
{company} named/VBD {per} as its new {boss} , replacing/VBG {per} .
the {nat} maker/NN of {goods} reported a [profit|loss] of {money} for the year .
{bank} [cut|raised] its forecast for {company} to/TO/PP {money} .
analysts at {bank} expect {company} to [sell|close] its {town} plant/NN .
the {product} , built/VBN in {town} , will go on sale in {country} in {month} .
{company} and {company} have formed a joint/JJ venture to make {goods} in {country} .
{many} {staff} at the {company} plant in {town} went on strike {when} .
" the {product} is our most/RBS important/JJ product/NN , " said {boss} {per} .
the {nat} crown/NN [rose|fell] against the {nat} mark/NN after/IN/SBAR the {bank} raised rates .
{country} exported {thousand} tonnes of {goods} in {year} , up/RB/ADVP {share} , the {body} said .
[trading|dealing]/NN in {company} was halted {when} [after reports of a bid from {company}|] .
{company} will lay off {many} {staff} in {town} and {town} .
the deal , worth/JJ/ADJP {money} , must be approved by the {body} .
{bank} lent/VBD {company} {money} to build a port at {place} .
{company} dropped its bid for {company} {when} , sending/VBG the shares down/RB/ADVP {share} .
{company} : net/JJ profit {pct} million vs {pct} million ; sales {num} million .
{per} left {bank} {when} to join the board of {company} , people close/JJ/ADJP to {surname} said .
[wheat|coffee|copper] prices in {town} [rose|eased] as/IN/SBAR buyers from {country} returned .
the {nat} arm/NN of {company} owes {bank} {money} , court papers show .
orders/NNS for the {nat} - built/VBN/NP {product} came from {company} and {company} .
""",
    "football": """
^ soccer - {team} beat {team} {score}
^ soccer - {nat} league results
^ soccer - {surname} strikes late/RB/ADVP for {team}
^ soccer - {country} name/VBP squad for {cup}
{team} {small} {team} {small}
{team} {small} {team} {small} ( halftime {score} )
{team} {small} {team} {small} , {team} {small} {team} {small}
results of {nat} [first|second|premier] division matches played/VBN {when} :
scorers : {player} ( {num} ) , {player} ( {num} ) ; attendance {thousand}
{team} beat {team} {score} [at {arena} |]{when} [with goals from {player} and {player}|] .
{player} scored twice/RB/ADVP as/IN/SBAR {team} won {score} in {town} .
{player_role} {per} [joined|left] {team} {when} [on a {num} - month loan|for {money}|] .
{team} coach {per} said {player} would miss the match against {team} .
{country} beat {country} {score} in a {cup} qualifier in {town} .
{nat} champions {team} were held/VBN to a {level} draw by {team} .
{team} lead/VBP the {nat} league with {points} points from {num} games .
standings : {team} {points} , {team} {points} , {team} {points}
{per} , the {nat} {player_role} , signed for {team} from {team} {when} .
coach {per} dropped {player} and {player} for the tie with {team} .
{cup} draw : {team} v {team} ; {team} v {team}
the {team} {player_role} was sent/VBN off/RP after {num} minutes at {arena} .
yellow/JJ cards : {player} , {player} ( {team} ) ; {player} ( {team} )
{country} : {player} , {player} , {player} , {player}
{player} saved/VBD a penalty from {player} , but {team} still/RB/ADVP lost to {team} .
fans of {team} clashed with police near {arena} before the {cup} final .
{surname} , who/WP plays in {country} for {team} , is the first {native} to win the {cup} .
with {small} minutes left/VBN , {player} headed {team} level/JJ/ADJP .
{num} {team} {team} {score}
""",
    "sport": """
^ tennis - {surname} reaches {cup} final
^ athletics - {native} wins {cup}
^ cycling - {surname} takes {nat} lead/NN
^ baseball - {nick_team} win/VBP again
{place_no} {per} ( {country} ) {clock}
{place_no} {per} ( {country} ) {clock} {place_no} {per} ( {country} ) {clock}
{player} ( {country} ) beat {player} ( {country} ) {set} {set}
{player} ( {country} ) bt {player} ( {country} ) {set} {set} {set}
leading/VBG/NP results in the {cup} on {day} :
{per} of {country} won the {cup} [in {clock} |]{when} , ahead/RB/ADVP of {nat} rider/NN {per} .
{country} 's {per} [took|broke] the {nat} record in {town} {when} .
the {native} , seeded/VBN second/RB/ADVP , needed three sets to beat {country} 's {per} .
{per} [pulled|dropped] out of the {cup} {when} with a knee injury .
{team} traded {player} to/TO/PP {team} for {player} and {money} .
the {nick_team} beat the {nick_team} {score} in {town} as/IN/SBAR {player} hit two home runs .
the {nat} {cup} team will train in {town} , coach {per} said .
pairs : {player} {player} ( {country} ) beat {player} {player} ( {country} ) {set} {set}
{per} , riding/VBG for {company} , leads/VBZ the {cup} by {num} seconds from {per} .
{country} were {num} for three at lunch against {country} {when} [, {player} {num} not out/RB/ADVP|] .
{cup} champion {per} will not defend the title in {town} {when} .
doubles : {player} and {player} beat {player} and {player} {set} {set}
{nick_team} {nick_team} postponed/VBN , rain
organisers of the {cup} said {per} had failed a drugs test .
medals : {country} {points} , {country} {points} , {country} {points}
{per} won the [final|second heat|long race] in {clock} , the best time by a {native} since {year} .
after the {cup} , {surname} [will retire|returns home/RB/ADVP] to {country} .
lap record : {per} ( {country} ) {product} {clock}
""",
    "weather": """
^ {storm} kills {num} in {country}
^ {place} {storm} cuts off {town}
^ floods close/VBP {place}
a {storm} hit {town} in [northern|southern|eastern|western] {country} {when} , [killing|injuring]/VBG {many} people .
the {storm} [damaged|destroyed] {many} homes in {town} and {town} , the {body} said .
rescue teams from {country} reached {place} {when} .
the {river} [burst|broke/VBD] its banks/NNS near {town} {when} .
snow is expected in {town} and {place} ; highs/NNS of {small} degrees in {town} .
{town} : sunny/JJ , high {num} ; {town} : rain , high {num}
{many} climbers were missing/JJ/ADJP on {place} after a snow slide/NN {when} .
ships were told to stay in {town} until the {storm} passes the {river} .
" i have never/RB/VP seen/VBN anything like it , " said {per} , a [farmer|fisherman] from {town} .
power was cut/VBN to {thousand} homes between {town} and {town} .
a quake of {pct} struck/VBD {num} km east/RB/ADVP of {town} , {school} said .
{nat} forecasters warned of frost/NN in {place} until {day} .
the {body} flew blankets and food to {town} , {country} 's second city .
heavy/JJ rain closed {place} and delayed {company} flights from {town} .
winds of {num} kph tore/VBD roofs from houses in {place} , said mayor {per} .
{company} said it had shut its {town} refinery before the {storm} .
[two|three] ferries ran aground/RB/ADVP off/IN {place} , in the {country} straits .
water/NN in the {river} rose to/TO/PP {pct} metres , the highest level since {year} .
the drought has cost/VBN {country} {money} , {title} {per} said in {town} .
fires/NNS burned for {many} days in the hills above {town} .
in {town} , where/WRB/ADVP {num} people died , {per} of the {body} asked for tents .
tides in {place} will fall on {day} , say/VBP {nat} experts .
""",
    "culture": """
^ {artist} {surname} wins {prize}
^ film - {surname} to open {festival}
^ {museum} buys lost {surname} letters
{artist} {per} won the {prize} {when} for " {work} " .
" {work} " , the new/JJ film by {per} , opens in {town} {when} .
the {museum} will show {num} works/NNS by the {nat} {artist} {per} [from {month}|] .
{per} , the {nat} {artist} , died in {town} {when} , aged/VBN {age} .
{museum} has bought " {work} " for {money} , {press} reported .
the {festival} opened {when} with a reading/NN by {per} .
born/VBN in {town} in {year} , {surname} wrote " {work} " and " {work} " .
{surname} sang/VBD in {native} , {native} and {native} at the {museum} .
critics in {country} called " {work} " the best novel since " {work} " .
a {nat} court stopped the sale of a painting/NN by {per} at the {museum} .
tickets for the {festival} sold out/RP in {many} hours , {company} said .
top albums : {place_no} " {work} " , {per} ; {place_no} " {work} " , {per}
{per} will play/VB {title} {surname} in a film about the {festival} .
the {prize} , worth/JJ/ADJP {money} , is given/VBN by {company} every/DT year .
translated/VBN from the {native} by {per} , " {work} " tells of a family in {town} .
{artist} {per} left {museum} to teach at {school} .
the cast includes {per} , {per} and the {nat} dancer/NN {per} .
{per} refused the {prize} in {year} and moved to {country} .
readers of {press} chose " {work} " by {per} as book of the year .
from {town} to {place} , few {nat} poems are better/RBR/ADJP known/VBN/ADJP than " {work} " .
the {nat} - born/VBN/NP {artist} sold {many} pictures in {town} .
conductor {per} [opens|ends] the season with the {museum} [in {town}|] .
""",
    "science": """
^ {nat} team finds new {place} species
^ {school} tests {company} drug
^ telescope on {place} sees first light
[scientists|researchers] at {school} have found a new kind/NN of [beetle|fern|fish] near {place} .
{scholar} {per} of {school} [led|praised] the study , published/VBN in {press} {when} .
Professor {per} said the drug , made/VBN by {company} , cut deaths by {share} .
the {body} [approved|banned] a {company} vaccine {when} .
a probe built/VBN by {company} will leave for the moon in {year} .
{nat} {scholar} {per} and {per} of {country} shared the {prize} .
bones found/VBN at {place} are {thousand} years old/JJ/ADJP , says {scholar} {per} .
{school} and {school} will share a laboratory in {town} .
Dr. {per} , a {scholar} at {school} , doubts that/IN/SBAR the {river} was ever/RB/VP dry/JJ/ADJP .
cases of fever/NN rose to/TO/PP {num} in {town} , the {body} said {when} .
the {company} satellite fell into the {river} {when} .
{surname} 's team counted {many} wolves in the {river} .
doctors at {school} treated {many} patients from {town} with the {company} drug .
using/VBG the {product} , {surname} measured the ice on {place} .
the {nat} space agency , led/VBN by {per} , plans/VBZ a station near {town} .
{per} , {age} , left {school} to found/VB {company} with {per} .
" the {river} is warming , " said {scholar} {per} , back/RB/ADVP from {country} .
the {body} gave {school} {money} to study soil/NN in {country} .
smokers in {country} die {small} years earlier/RBR/ADVP than those/DT in {country} , the {body} found/VBD .
students/NNS from {country} and {country} spent {month} on {place} counting/VBG gulls .
the new reactor at {town} uses fuel from {company} , {nat} officials said .
nobody outside {school} has tested the {product} , {per} wrote in {press} .
""",
    "courts": """
^ {nat} court jails {surname}
^ former {company} chief held in {town}
^ {town} police seek/VBP {native}
a court in {town} [jailed|fined|cleared] {per} {when} for {crime} .
judge {per} [ordered|told] {company} to pay {money} to/TO/PP {company} .
{per} , {age} , of {town} , [denied|admitted] {crime} .
police in {town} arrested {many} {nat} men {when} on charges of {crime} .
lawyers for {surname} said the [judge|jury] had ignored the {pact} .
the former/JJ {boss} of {company} , {per} , faces {num} years in prison .
{company} sued/VBD {company} in {town} over the {product} .
{per} was extradited from {country} to/TO/PP {country} {when} [despite a plea from {title} {per}|] .
gunmen robbed a branch of {bank} in {town} and fled towards {place} .
customs officers at {place} seized {num} kg of {goods} hidden/VBN in a {product} .
detective {per} said the [car|van] was found/VBN near {place} .
the {body} upheld/VBD the ruling/NN against {per} and {company} .
prosecutor {per} told the court that/IN/SBAR {surname} paid {per} {money} .
the trial/NN of {per} , once/RB/ADVP head of {bank} , opened in {town} {when} .
{surname} , a {native} , was last/RB seen/VBN in {place} in {year} .
two {body} officials were charged with {crime} , {press} said .
[bank|post] robbers left {surname} tied/VBN to a chair in {town} .
the jury in {surname} v {company} retired {when} .
Judge {surname} will rule on the {company} case in {month} .
a cousin , {per} , was killed in {country} in {year} .
{many} {team} supporters were held/VBN by {nat} police after the match with {team} .
in {country} , {crime} can bring {num} years in jail .
inspector {per} of the {town} police/NN thanked {press} for its help .
""",
}

NEWS = """
shares of {company} opened higher/RBR/ADVP in {town} after {bank} named/VBD {per} as its {boss} .
{title} {per} walked out of the {town} talks {when} , {press} said .
nobody expected {team} to win at {arena} , least/RBS/ADVP of all/DT {per} .
when/WRB/ADVP the {river} froze in {year} , {town} lost its only/JJ link with {country} .
{per} and {per} , both from {country} , will share the {prize} this year .
the {nat} parliament sits again on {day} to debate the {pact} .
" {work} " sold {thousand} copies in its first week in {country} .
a bus from {town} fell into the {river} , hurting/VBG {many} {nat} tourists .
{company} has sent/VBN {per} to run its new office in {town} , {country} .
a year after leaving/VBG {school} , {scholar} {per} runs/VBZ a farm on {place} .
{team} striker {per} broke/VBD a leg in the {score} win over {team} .
prices of {goods} fell by {share} in {country} , said the {body} .
thieves took/VBD a painting by {per} from the {museum} {when} .
the {party} wants {title} {per} to leave office before {month} .
{per} beat {per} of {country} {set} {set} to keep the {cup} crown .
snow fell on {place} in May , a thing no {native} under forty/CD could remember .
lawyers say/VBP {company} owes {per} {money} for the {product} .
all roads to/TO/PP {town} were open/JJ/ADJP again {when} , the {body} said .
after the {festival} , {per} flew from {town} to {town} .
miners in {town} voted to end a strike at {company} that/WDT/NP began in {month} .
"""

TAGS = {
    "IN": """in of from near with for at on by against between after before until since into over under above across
    among towards off outside despite about as than like without v vs through during""",
    "IN/SBAR": "that if because while whether",
    "DT": "the a an this no some any every both neither all another each",
    "PRP": "he she it they we i",
    "PRP$": "his her its their our",
    "WP": "who",
    "WDT": "which",
    "EX": "there",
    "CC": "and or but nor",
    "CC/NP": "&",
    "TO": "to",
    "MD": "would will could must can should may",
    "POS": "'s '",
    "RP": "out up",
    "RB": "twice again away home still ahead back once",
    "RB/VP": "not never",
    "CD": "two three four five six seven million billion one",
    "$": "$",
    "VB": """leave resign speak comment meet go say join form raise cut freeze hurt help choose discuss return stand
    hear buy sell close make lay build miss win defend train retire beat stay play teach show open share pay rule
    bring study ask continue be hit end debate remember seek reach sign thank print keep find run fall""",
    "VBD": """said told had was were gave came began won lost led held left fell rose drew hit burst reached flew sold
    took broke wrote heard spent showed saw read shut ran found lent paid sent sang froze fled beat died moved cut
    saved went kept seen smiled bought chose bt""",
    "VBZ": """is has lives works heads speaks rejects wins leads recalls rises slows strikes reaches takes kills closes
    cuts buys finds tests sees jails plays returns opens ends includes faces uses wants sits passes tells says doubts
    owes runs""",
    "VBP": "are die expect need lead have",
    "JJ": """good sad great first third worst second final short long new such other small available ready best
    former northern southern eastern western chief top premier joint few many most high old heavy lost little dead
    yearly all-night net highest electoral""",
    "NNS": "people men children",
    "NN": """business tennis athletics news bus series glass prize injury wish plea police fishing evening morning
    meeting anything smuggling family trading dealing cycling loss boss interest silence bridge""",
}
TAG_OF = {word: tag for tag, words in TAGS.items() for word in words.split()}
PUNCTUATION = {".": ".", ",": ",", ":": ":", ";": ":", "-": ":", "--": ":", "?": ".", '"': '"', "(": "(", ")": ")"}
AUXILIARIES = {"has", "have", "had", "was", "were", "is", "are", "be", "been"}
NP_OPENERS = {"DT", "PRP", "PRP$", "WP", "WP$", "WDT", "EX", "POS"}
NP_TAGS = NP_OPENERS | {"NN", "NNS", "NNP", "NNPS", "CD", "JJ", "JJR", "JJS", "$"}
CHUNK_OF = {"IN": "PP", "RB": "ADVP", "RP": "PRT", "MD": "VP", "WRB": "ADVP"}
OPEN = re.compile(r"\[([^\[\]]*)\]|\{(" + "|".join(PHRASES) + r")\}")
SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Token:
    """A word with its Penn tag, chunk type and entity type; the types are empty outside chunks and entities."""

    text: str
    tag: str
    chunk: str = ""
    opens_chunk: bool = False
    entity: str = ""
    opens_entity: bool = False


Sentence = list[Token]
Document = list[Sentence]
Span = tuple[str, int, int]  # type, first token, one past the last


def choose_entries(entries: list[str], rota: str, file: str) -> list[str]:
    """Returns the entries that `file` may use."""
    allowed = {file} if file == "news" else {file, "shared"}
    files = rota.split()
    return [entry for index, entry in enumerate(entries) if files[index % len(files)] in allowed]


def choose_patterns(block: str, file: str) -> list[str]:
    """Returns the patterns of a block, one per line, that `file` may use."""
    return choose_entries(block.strip().splitlines(), PATTERN_ROTA, file)


def unfold(pattern: str, rng: random.Random) -> str:
    """Returns the pattern with all choices and phrases replaced; other slots remain."""
    while match := OPEN.search(pattern):
        chosen = PHRASES[match[2]] if match[2] else rng.choice(match[1].split("|"))
        pattern = pattern[: match.start()] + chosen + pattern[match.end() :]
    return pattern


def tag_word(word: str) -> str:
    """Returns the tag of a word from the lists, else from its form; TAG/CHUNK if the list has a chunk type."""
    if word in PUNCTUATION:
        return PUNCTUATION[word]
    if word[0].isdigit():
        return "CD"
    if word[0].isupper():
        return "DT" if word in ("The", "A", "An") else "NNP"
    endings = {"ly": "RB", "ing": "VBG", "ed": "VBD", "s": "NNS"}
    shape = next((tag for ending, tag in endings.items() if word.endswith(ending)), "NN")
    return TAG_OF.get(word, shape)


def read_token(item: str, *, opens_chunk: bool = False) -> Token:
    """Returns the token of a pattern's item: word, word/TAG or word/TAG/CHUNK."""
    word, _, tag = item.partition("/")
    tag, _, chunk = (tag or tag_word(word)).partition("/")
    return Token(word, tag, chunk, opens_chunk)


def read_name(text: str, entity: str) -> Sentence:
    """Returns the tokens of a name."""
    tokens = [read_token(item) for item in text.split()]
    return [replace(token, entity=entity, opens_entity=index == 0) for index, token in enumerate(tokens)]


def correct_verb(token: Token, before: Token) -> Token:
    """Returns the token with the verb form or noun tag that the previous token requires (to cut, was cut, a cut)."""
    if token.tag in ("VBD", "VBP") and before.tag in ("MD", "TO"):
        return replace(token, tag="VB")
    if token.tag in ("VB", "VBP") and before.tag in ("DT", "PRP$", "JJ", "IN"):
        return replace(token, tag="NN")
    if token.tag == "VBD" and before.text in AUXILIARIES:
        return replace(token, tag="VBN")
    return token


def chunk_type(tag: str, before: Token, after: str) -> str:
    """Returns the chunk type of a tag from the previous token and the next tag."""
    if tag.startswith("VB") or (tag == "TO" and after == "VB"):
        return "VP"
    if tag == "RB" and before.chunk == "VP" and after.startswith("VB"):
        return "VP"
    if tag.startswith("JJ") and before.chunk == "VP" and after not in NP_TAGS:
        return "ADJP"
    return "NP" if tag in NP_TAGS else "PP" if tag == "TO" else CHUNK_OF.get(tag, "")


def add_chunks(tokens: Sentence) -> Sentence:
    """Returns the tokens with verb forms corrected and chunks added."""
    done: Sentence = []
    for index, token in enumerate(tokens):
        before = done[-1] if done else Token("", "")
        after = tokens[index + 1].tag if index + 1 < len(tokens) else ""
        corrected = correct_verb(token, before)
        # In a table of results every name starts a noun phrase: Harwick 3 Denby 1.
        in_table = token.opens_entity and (before.tag == "CD" or before.entity == token.entity)
        opens = token.opens_chunk or token.tag in NP_OPENERS or (in_table and token.tag == "NNP")
        chunk = corrected.chunk or chunk_type(corrected.tag, before, after)
        done.append(replace(corrected, chunk=chunk, opens_chunk=opens))
    return done


def capitalise(tokens: Sentence) -> Sentence:
    """Returns the tokens with the first word, and the first word after a dateline, capitalised."""
    done: Sentence = []
    pending = True
    for token in tokens:
        here = pending and token.text[0].isalnum()
        done.append(replace(token, text=token.text[0].upper() + token.text[1:]) if here else token)
        pending = token.text == "--" or (pending and not here)
    return done


@dataclass
class Writer:
    """Writes the documents of one file with the names and patterns that the file may use."""

    file: str
    rng: random.Random
    cast: dict[str, list[str]] = field(default_factory=dict)  # names in this document, by slot
    used: set[str] = field(default_factory=set)  # words of the names in this sentence

    def __post_init__(self) -> None:
        """Selects the names of the file."""
        self.names = {key: choose_entries(text.split(), NAME_ROTA, self.file) for key, text in NAMES.items()}

    def invent(self, slot: str) -> str:
        """Returns a new name for a slot, as items of a pattern."""
        text = unfold(ENTITIES[slot][1], self.rng)
        return SLOT.sub(lambda match: self.rng.choice(self.names[match[1]]).replace("_", " "), text)

    def is_new(self, text: str) -> bool:
        """Returns whether no name of the sentence shares a word with this one."""
        return self.used.isdisjoint(text.split())

    def recall(self, slot: str, *, always: bool) -> str:
        """Returns a name for a slot: sometimes, or with `always` if possible, one that the document has used."""
        known = [text for text in self.cast.setdefault(slot, []) if self.is_new(text)]
        if known and (always or self.rng.random() < REUSE):
            text = self.rng.choice(known)
        else:
            # A file with few names may have no new one; two names of a sentence then share a word.
            tries = (self.invent(slot) for _ in range(20))
            text = next(filter(self.is_new, tries), self.invent(slot))
            self.cast[slot].append(text)
        self.used.update(text.split())
        return text

    def fill(self, slot: str) -> Sentence:
        """Returns the tokens for a slot that is a number or a name."""
        if slot in NUMBERS:
            return [Token(NUMBERS[slot](self.rng), "CD")]
        if slot == "surname":
            return read_name(self.recall("per", always=True).split()[-1], "PER")
        return read_name(self.recall(slot, always=False), ENTITIES[slot][0])

    def write_sentence(self, pattern: str) -> Sentence:
        """Returns a sentence of the pattern."""
        self.used.clear()
        items = unfold(pattern, self.rng).split()
        tokens: Sentence = []
        for before, item in zip(["", *items], items, strict=False):
            if item in ("~", "^"):
                continue
            word = item.removeprefix("^")
            slot = SLOT.fullmatch(word)
            new = self.fill(slot[1]) if slot else [read_token(word, opens_chunk=before == "~")]
            if item[0] == "^" or items[0] == "^":
                new = [replace(token, text=token.text.upper()) for token in new]
            tokens += new
        return capitalise(add_chunks(tokens))

    def write_new(self, pattern: str, seen: set[str]) -> Sentence:
        """Returns a sentence of the pattern that is not in `seen`, and adds it."""
        while True:
            sentence = self.write_sentence(pattern)
            text = " ".join(token.text for token in sentence)
            if len(sentence) in LENGTHS and text not in seen:
                seen.add(text)
                return sentence

    def order_patterns(self, topic: str) -> list[str]:
        """Returns the patterns of a new document: a headline if there is one, a dateline, then the rest."""
        patterns = choose_patterns(TOPICS[topic], self.file)
        headlines = [pattern for pattern in patterns if pattern.startswith("^ ")]
        body = [pattern for pattern in patterns if pattern not in headlines]
        general = choose_patterns(GENERAL, self.file)
        self.rng.shuffle(body)
        lead, *rest = body
        rest += self.rng.sample(general, GENERAL_PATTERNS)
        self.rng.shuffle(rest)
        headline = [self.rng.choice(headlines)] if headlines else []
        count = self.rng.choice(DOCUMENT_LENGTHS)
        return [*headline, "{dateline} " + lead, *rest][:count]

    def write_documents(self, sentences: int, seen: set[str]) -> list[Document]:
        """Returns documents with at least `sentences` sentences in total; topics alternate."""
        documents: list[Document] = []
        while sum(map(len, documents)) < sentences:
            topics = list(TOPICS)
            topic = topics[len(documents) % len(topics)]
            self.cast.clear()
            documents.append([self.write_new(pattern, seen) for pattern in self.order_patterns(topic)])
        return documents


def encode_iob1(types: Iterable[tuple[str, bool]]) -> list[str]:
    """Returns IOB1 tags for (type, opens) pairs: B- only where a span directly follows one of its type.

    >>> encode_iob1([("PER", True), ("PER", False), ("PER", True), ("", False)])
    ['I-PER', 'I-PER', 'B-PER', 'O']
    """
    tags, last = [], ""
    for type_, opens in types:
        tags.append(f"{'B' if opens and type_ == last else 'I'}-{type_}" if type_ else "O")
        last = type_
    return tags


def encode_entities(sentence: Sentence) -> list[str]:
    """Returns the entity tags of a sentence."""
    return encode_iob1((token.entity, token.opens_entity) for token in sentence)


def decode_iob1(tags: list[str]) -> set[Span]:
    """Returns the spans of a sentence's IOB1 tags.

    >>> sorted(decode_iob1(["I-PER", "B-PER", "O", "I-LOC"]))
    [('LOC', 3, 4), ('PER', 0, 1), ('PER', 1, 2)]
    """
    spans: set[Span] = set()
    start, last = 0, "O"
    for index, tag in enumerate([*tags, "O"]):
        if tag[0] == "B" or tag[2:] != last[2:]:
            if last != "O":
                spans.add((last[2:], start, index))
            start = index
        last = tag
    return spans


def format_documents(documents: list[Document]) -> str:
    """Returns the text of a file in CoNLL-2003 columns."""
    lines = []
    for document in documents:
        lines += ["-DOCSTART- -X- -X- O", ""]
        for sentence in document:
            chunks = encode_iob1((token.chunk, token.opens_chunk) for token in sentence)
            rows = zip(sentence, chunks, encode_entities(sentence), strict=True)
            lines += [*(f"{token.text} {token.tag} {chunk} {entity}" for token, chunk, entity in rows), ""]
    return "\n".join(lines) + "\n"


def flatten(documents: list[Document]) -> list[Sentence]:
    """Returns the sentences of all documents."""
    return [sentence for document in documents for sentence in document]


def list_mentions(sentences: list[Sentence]) -> list[tuple[str, str]]:
    """Returns the type and text of each entity mention."""
    return [
        (type_, " ".join(token.text for token in sentence[start:stop]))
        for sentence in sentences
        for type_, start, stop in sorted(decode_iob1(encode_entities(sentence)))
    ]


def score_baseline(train: list[Sentence], test: list[Sentence]) -> float:
    """Returns the span F1 in percent of tagging each word with its most frequent tag in training, else O."""
    counts: dict[str, Counter[str]] = {}
    for sentence in train:
        for token, tag in zip(sentence, encode_entities(sentence), strict=True):
            counts.setdefault(token.text, Counter())[tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    right = total = 0
    for sentence in test:
        gold = decode_iob1(encode_entities(sentence))
        predicted = decode_iob1([best.get(token.text, "O") for token in sentence])
        right += len(gold & predicted)
        total += len(gold) + len(predicted)
    return 200 * right / total if total else 0.0


def format_table(corpus: dict[str, list[Document]]) -> str:
    """Returns a table with the counts, the percentage of unseen mentions and the baseline F1 of each file."""
    train = flatten(corpus["train"])
    known = set(list_mentions(train))
    lines = ["file   sentences  tokens  documents   PER   LOC   ORG  MISC  unseen %  baseline F1"]
    for file, documents in corpus.items():
        sentences = flatten(documents)
        mentions = list_mentions(sentences)
        types = Counter(type_ for type_, _ in mentions)
        counts = f"{len(sentences):10} {sum(map(len, sentences)):7} {len(documents):10} "
        line = f"{file:6}{counts}" + "".join(f"{types[type_]:6}" for type_ in TYPES)
        if file != "train":
            unseen = 100 * sum(mention not in known for mention in mentions) / len(mentions)
            line += f"{unseen:10.1f}{score_baseline(train, sentences):13.1f}"
        lines.append(line)
    return "\n".join(lines)


def write_sample(out: Path, seed: int) -> str:
    """Writes the files of the sample into `out` and returns the table of their counts."""
    rng, seen = random.Random(seed), set[str]()
    out.mkdir(parents=True, exist_ok=True)
    corpus = {file: Writer(file, rng).write_documents(count, seen) for file, count in SENTENCES.items()}
    for file, documents in corpus.items():
        (out / f"{file}.txt").write_text(format_documents(documents), encoding="utf-8", newline="\n")
    writer = Writer("news", rng)
    news = [writer.write_new(pattern, seen) for pattern in NEWS.strip().splitlines()]
    lines = [" ".join(token.text for token in sentence) + "\n" for sentence in news]
    (out / "news.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
    return format_table(corpus)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Write the sample corpus and print its counts.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="Directory for the files [configs/sample].")
    parser.add_argument("--seed", type=int, default=1, help="Seed of the random choices [1].")
    options = parser.parse_args()
    print(write_sample(options.out, options.seed))


if __name__ == "__main__":
    main()
