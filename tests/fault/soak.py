"""The long campaign behind `./dev soak`: faults one after the other, the history checked in portions.

A portion has keys of its own and ends with all nodes alive and every key read through every node.
"""
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import conftest  # noqa: F401  (makes cluster_conftest importable)
from cluster_conftest import Cluster
import faultlib
from faultlib import Load, check_history, final_reads, freeze, settled, thaw

PORTION = 20  # faults


def kill(load, victim, rng, others):
    victim.kill()
    load.progress(rng.randrange(5, 80), nodes=others)
    victim.start()


def pause(load, victim, rng, others):
    freeze(victim)
    try:
        load.progress(rng.randrange(5, 30), nodes=others)
    finally:
        thaw(victim)


def portion(cluster, rng, fault, faults, number):
    with Load(cluster, clients=6, keys=rng.randrange(1, 12), prefix=f"portion-{number}") as load:
        for _ in range(faults):
            load.progress(rng.randrange(1, 80))
            victim = rng.choice(cluster.nodes)
            fault(load, victim, rng, [node.name for node in cluster.nodes if node is not victim])
    settled(cluster)
    final_reads(cluster, load.history, load.keys)
    check_history(load.history)
    return len(load.history), load.acked(kinds=("put", "delete"))


def main():
    if sys.argv[1] == "freeze":
        faultlib.TIMEOUT = 2  # clients must not hang on the frozen node for long
    fault = {"kill": kill, "freeze": pause}[sys.argv[1]]
    rounds, seed = int(sys.argv[2]), int(time.time()) if len(sys.argv) < 4 else int(sys.argv[3])
    print(f"{sys.argv[1]}: {rounds} rounds, seed {seed}", flush=True)
    cluster, rng = Cluster(), random.Random(seed)
    done = operations = writes = 0
    try:
        while done < rounds:
            faults = min(PORTION, rounds - done)
            count, acked = portion(cluster, rng, fault, faults, done)
            done, operations, writes = done + faults, operations + count, writes + acked
            print(f"{done} of {rounds} faults, {operations} operations, {writes} writes acknowledged, "
                  "no promise broken", flush=True)
    except BaseException:
        print(f"files are kept in {cluster.dir}", flush=True)
        cluster.cli("dev", "down", "--keep", check=False)
        raise
    cluster.close()


main()
