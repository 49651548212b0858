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
        "At 500 requests a second four partitions make 168 transactions a second of three requests each: "
        "a commit is 11.5 ms (five round trips and the broker's own log of transactions), scoring 6.8 ms "
        "(2.7 the high-watermark fence, 3.1 the model's process), and on these two cores the broker's JVM "
        "(75 %), the agent (60 %), the model and the client queue for the processor. One transaction for "
        "all partitions was built and measured: the JVM fell from 101 to 77 % of a core, p50 did not. "
        "The fence is what makes the current asset linearizable, and it is not traded. That was on a quiet "
        "machine, with a p50 of 24 ms. In the published run everybody's latency is several times that "
        "(Kafka Streams' up to seconds): the two cores behave as threads of one that others use, too: "
        "a plain loop took from 0.9 to 1.6 s of them that day."
    ),
    7: (
        "Of the p50, append to append, half is the fence and the call of the model's process (2.7 and "
        "3.1 ms under this load), the rest the broker's fetch, append and the offsets' commit, which is "
        "awaited: a repeat comes only after a crash. On a quiet machine with a warm JVM it was 8.5 ms; the published run was on a slow one (row 6)."
    ),
    9: (
        "Deciding and encoding are one Python process beside the broker on two cores; on the same machine, "
        "when its neighbours left it alone, the worker applied 4,800 a second."
    ),
    10: (
        "The worker's start over an empty state (Faust, its consumer group) is half of it; the rest is "
        "reading 100,000 records in Python at 45 µs each. A deployment is its record without the manifest, "
        "its keys in four tables, and what the allocator keeps of reading."
    ),
    11: (
        "Not profiled. A guess: the CPU of a request depends on how many requests a transaction takes: agents that share the "
        "partitions find fewer waiting each, and each fills caches of its own."
    ),
}
