"""Why rows of the table are missed, where they are: what profiles showed."""

# By row: why it is missed, as a profile shows. `python -m bench` names the rows that lack one.
EXPLANATIONS: dict[int, str] = {
    1: (
        "An agent is one Python process, and all of its work is on one core. What the ceiling takes a "
        "request (row 3: fetching and sending by aiokafka, whose record code runs in that process) is the "
        "larger part; 13 µs more are Baton's own (profiled: reading and checking the request, finding "
        "what serves its deployment, building the matrix, encoding the answer with its asset and "
        "revision), and the model's process takes its share of the other core. The loop by hand checks "
        "nothing, knows one model, and librdkafka does its network and record work in threads of its own. "
        "With a model that costs more (the forest below) the two draw level. More agents share the "
        "partitions; what one process gains next is a record format library in C."
    ),
    2: (
        "MLServer is measured where it is at its best, with 2,000 requests waiting. It makes a task of "
        "each record it fetches, with no bound: with 10,000 waiting it answered 325 a second, less than a "
        "hundredth of Baton's rate."
    ),
    3: (
        "The echo takes some 19 µs a request and Baton adds its own 13 µs (row 1): 19 / (19 + 13) is what is "
        "measured. Reaching 0.7 needs Baton's part below 8 µs."
    ),
    6: (
        "At 500 requests a second four partitions make some 168 transactions a second of three requests "
        "each. A commit is five round trips and the broker's own log of transactions; two of them are left "
        "to wait for since the others are made while the models are asked, and the high-watermark fence "
        "(2.7 ms) and the call of the model's process (3.1 ms) are under way together: that made p50 0.73 "
        "and 0.76 times, p99 0.66 and 0.72 times what they were (two runs of `make bench-quick`, three rounds "
        "in turns each; one round of the second went the other way). The run in the "
        "table was made before that; rows 6 and 7 measured alone since: p50 at 500/s 66 to 90 ms exactly "
        "once, 35 to 40 ms at least once, where Kafka Streams had 68 to 76 ms and with 10 ms commits 24 to "
        "27 ms. What is left is a queue for the processor, for 500 requests a second take both cores: the "
        "broker's JVM 77 % of one, the agent 30 %, the model 27 %, sender and reader 43 %. One transaction "
        "for all partitions was built and measured: the JVM fell from 101 to 77 % of a core, p50 did not. "
        "The fence is what makes the current asset linearizable, and it is not "
        "traded. The profile has an agent's time in requests to the broker and "
        "in calls of the model, per cycle and not per row: fewer and larger cycles are what is left to do."
    ),
    7: (
        "Fetch, the call of the model's process (3.1 ms under this load, the fence beside it), append and "
        "the reader's fetch, each a wait for one of two cores that the JVM, the agent, the model, sender and "
        "reader share. Offsets are committed ten times a second, aside. Building and pickling a call's "
        "frame was a sixth of the agent's busy time (py-spy); naming its columns, half of it, is done once now."
    ),
    9: (
        "Deciding and encoding are one Python process beside the broker on two cores; on the same machine, "
        "when its neighbours left it alone, the worker applied 4,800 to 6,000 a second in five rounds."
    ),
    10: (
        "The worker's start over an empty state (Faust, its consumer group) is half of it; the rest is "
        "reading 100,000 records in Python at 45 µs each. A deployment is its record without the manifest, "
        "its keys in four tables, and what the allocator keeps of reading. Measured alone, on a machine whose "
        "neighbours left it alone, the worker served after 6.5 to 6.8 s in three runs."
    ),
    11: (
        "Not profiled. A guess: the CPU of a request depends on how many requests a transaction takes: agents that share the "
        "partitions find fewer waiting each, and each fills caches of its own."
    ),
}
