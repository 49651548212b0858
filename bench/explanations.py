"""Why rows of the table are missed, where they are: what profiles showed."""

# By row: why it is missed, as a profile shows. `python -m bench` names the rows that lack one.
EXPLANATIONS: dict[int, str] = {
    1: (
        "Rows 1 to 3 are of a run of their own, right after the others, with more requests: Baton answers "
        "what it has read ahead while its model loads at 75,000 a second, and only then shows what it can go "
        "on with. An agent is one Python process, and all of its work is on one core. What the ceiling takes "
        "a request (row 3: fetching and sending by aiokafka, whose record code runs in that process) is the "
        "larger part, some 11 µs; 7 µs more are Baton's own (profiled: a quarter of the process's time reads "
        "and checks requests, a third asks the model and encodes its answers with asset and revision), and "
        "the model's process takes its share of the other core. The loop by hand checks "
        "nothing, knows one model, and librdkafka does its network and record work in threads of its own. "
        "More agents share the partitions; what one process gains next is a record format library in C."
    ),
    2: (
        "MLServer is measured where it is at its best, with 2,000 requests waiting. It makes a task of "
        "each record it fetches, with no bound: with 10,000 waiting it answered 325 a second, less than a "
        "hundredth of Baton's rate. Kafka Streams, in Java with the model in its process, uses both "
        "cores; in an earlier run, on a machine slowed by its neighbours, Baton was 2.21 times as fast."
    ),
    3: (
        "The echo takes some 11 µs a request and Baton adds its own 7 µs (row 1): 11 / (11 + 7) is what is "
        "measured. Reaching 0.7 needs Baton's part below 5 µs."
    ),
    6: (
        "A request waits for the batch before it, is scored (the high-watermark fence and the call of the "
        "model's process, side by side) and committed (five round trips, two of them made ahead, and the "
        "broker's own log of transactions), and its reader fetches it. At 500/s, before partitions shared "
        "transactions, the agent's own clock had 12 to 16 ms until scoring, 7 to 10 ms for it, 9 to 12 ms for "
        "the commit, with 2 to 3 requests in each of 175 to 230 batches a second. They take both cores: the "
        "broker's JVM 77 % of one, the agent 30 %, the model 27 %, sender and reader 43 %. What helped since the last "
        "publication, each beside its parent: requests are read ahead (p50 at 500/s 0.78 and 0.77 times, two "
        "rounds), an agent's partitions share their transactions (at 5,000/s 0.39, 0.75 and 0.71 times, at "
        "500/s 0.61, 0.99 and 0.94, three rounds). Tried and left: uvloop (0.62, 0.93, 0.96), and batches "
        "that begin on ticks of 5, 10 or 20 ms (0.66 to 0.91), which every idle agent would pay for. Kafka "
        "Streams with 10 ms commits keeps no fence and validates nothing; it embeds the model in its process "
        "and speaks transactions of version 2, of two round trips less, which aiokafka does not. "
        "The fence is what makes the current asset linearizable, and it is not traded."
    ),
    7: (
        "Fetch, the call of the model's process (3.1 ms under this load, the fence beside it), append and "
        "the reader's fetch, each a wait for one of two cores that the JVM, the agent, the model, sender and "
        "reader share. Offsets are committed ten times a second, aside. A model in a process of its own, "
        "which cannot take the agent with it, is the price that is not traded."
    ),
    10: (
        "A worker keeps of each deployment its record without the manifest, its keys in four tables, and "
        "what the allocator keeps of reading: 1.87 to 2.10 KiB in the rounds."
    ),
    11: (
        "The most costly is a single agent (22.7 to 23.7 s a million), not the many (two 20.7 to 21.3, four "
        "19.9 to 20.5): nothing grows with instances. By process, three runs of one and of four in turns: the "
        "models take 1.6 s in both; the agents 18.1 to 19.9 s of their own and 2.0 to 3.2 s in the system as "
        "one, 16.1 to 16.7 and 1.9 to 2.7 as four. One takes 0.91 to 1.11 page faults a request, four 0.71 to "
        "0.76: batches of four partitions in hand at once are memory that is taken and given back."
    ),
}
