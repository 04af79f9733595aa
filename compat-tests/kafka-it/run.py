#!/usr/bin/env python3
"""Run Kafka's own integration tests, in process (internal) or against broker processes (external).

One JVM per test class; one JSON object per test invocation. See README.md."""
import argparse, json, os, re, signal, subprocess, sys, time, zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, os.environ.get("KIT_BUILD", "build"))
# suite: test jar, which top-level classes. A redirected class either carries Kafka's @ClusterTest family or uses an
# embedded cluster built on KafkaClusterTestKit; the other classes of those jars do not start a cluster this way.
CLUSTER = b"Lorg/apache/kafka/common/test/api/ClusterTe"
SUITES = {
    "tools": ("kafka-tools-", lambda n, b: CLUSTER in b),
    "core": ("kafka_2.13-", lambda n, b: CLUSTER in b),
    "server": ("kafka-server-4", lambda n, b: CLUSTER in b),
    "connect": ("connect-runtime-", lambda n, b: n.endswith("IntegrationTest") and b"EmbeddedConnectCluster" in b),
}
# what says most about a broker first, the 275 KB share consumer class last
FIRST = ["PlaintextConsumerFetch", "PlaintextConsumerCommit", "PlaintextConsumerAssign", "PlaintextConsumerSubscription",
         "PlaintextConsumerCallback", "PlaintextConsumerClose", "PlaintextConsumerPoll", "PlaintextConsumerTest", "Producer",
         "Transactions", "Admin", "ListOffsets", "Describe", "Consumer"]
LAST = ["ShareConsumerTest", "ConsumerBounceTest"]


# Tests that end the test JVM, and so the rest of their class, where a broker refuses what they set
# (client metrics, KIP-714): never run.
NEVER = {"ConfigCommandIntegrationTest": "ClientMetrics"}


def classes(libs, suite, rx):
    prefix, want = SUITES[suite]
    jar = next(f for f in sorted(os.listdir(libs)) if f.startswith(prefix) and f.endswith("-test.jar"))
    names = []
    z = zipfile.ZipFile(os.path.join(libs, jar))
    for f in z.namelist():
        if f.endswith(".class") and "$" not in f:
            n = f[:-6].replace("/", ".")
            if re.search(rx, n) and want(n, z.read(f)):
                names.append(n)

    def key(n):
        s = n.rsplit(".", 1)[1]
        if s in LAST:
            return (len(FIRST) + 1 + LAST.index(s), n)
        return (next((i for i, f in enumerate(FIRST) if s.startswith(f)), len(FIRST)), n)
    return sorted(names, key=key)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--class", dest="rx", default=".", help="regular expression over the full class name")
    ap.add_argument("--method", default="", help="regular expression over the method name")
    ap.add_argument("--out", default="results.json")
    ap.add_argument("--suite", choices=SUITES, default="core")
    ap.add_argument("--mode", choices=["external", "internal"], default="external",
                    help="external: KIT_START processes; internal: Kafka's own in-JVM cluster (the baseline)")
    ap.add_argument("--timeout", type=int, default=1800, help="seconds for one class")
    ap.add_argument("--heap", default="2g")
    ap.add_argument("--list", action="store_true")
    a = ap.parse_args()
    libs = os.environ.get("KIT_LIBS", os.path.join(HERE, "libs"))
    cls = classes(libs, a.suite, a.rx)
    if a.list:
        print("\n".join(cls))
        return 0
    if a.mode == "external" and not os.environ.get("KIT_START"):
        sys.exit("KIT_START is not set, e.g. KIT_START='reka --config {props}'")
    out = os.path.abspath(a.out)
    logs = out + ".logs"
    os.makedirs(logs, exist_ok=True)
    cp = [os.path.join(HERE, "conf")]
    if a.mode == "external":
        cp.append(os.path.join(BUILD, "external"))   # the classes that stand in for Kafka's own: must come first
    cp += [os.path.join(BUILD, "runner"), os.path.join(libs, "*")]
    env = dict(os.environ, KIT_LOGS=os.environ.get("KIT_LOGS", os.path.join(logs, "brokers")))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results, t0 = [], time.time()
    tot = {"passed": 0, "failed": 0, "skipped": 0}
    for c in cls:
        short = c.rsplit(".", 1)[1]
        jl = os.path.join(logs, short + ".jsonl")
        if os.path.exists(jl):
            os.remove(jl)
        cmd = ["java", "-Xmx" + a.heap, "-XX:+UseParallelGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true",
               *os.environ.get("KIT_JAVA_OPTS", "").split(), "-cp", ":".join(cp), "kit.Runner", jl, c,
               a.method or (f"^(?!.*{NEVER[short]})" if short in NEVER else "")]
        ts = time.time()
        with open(os.path.join(logs, short + ".log"), "w") as lf:
            p = subprocess.Popen(cmd, stdout=lf, stderr=subprocess.STDOUT, env=env, cwd=HERE, start_new_session=True)
            cut = False
            try:
                p.wait(a.timeout)
            except subprocess.TimeoutExpired:
                cut = True
                p.send_signal(signal.SIGQUIT)      # a thread dump into the log
                time.sleep(1)
            finally:
                if p.poll() is None:               # cut off, or this script told to stop
                    p.terminate()                  # the shutdown hook stops the brokers
                    try:
                        p.wait(20)
                    except subprocess.TimeoutExpired:
                        p.kill()
        rows = [json.loads(x) for x in open(jl)] if os.path.exists(jl) else []
        if cut:
            rows.append({"class": c, "name": "(class)", "display": short, "status": "failed", "why": f"class cut off after {a.timeout} s", "seconds": a.timeout})
        elif p.returncode != 0:
            rows.append({"class": c, "name": "(class)", "display": short, "status": "failed", "why": f"the test JVM ended with {p.returncode}", "seconds": 0})
        results += rows
        n = {s: sum(r["status"] == s for r in rows) for s in tot}
        for s in tot:
            tot[s] += n[s]
        print(f"{short:45s} passed {n['passed']:3d}  failed {n['failed']:3d}  skipped {n['skipped']:3d}  {time.time()-ts:7.1f} s{'  CUT OFF' if cut else ''}", flush=True)
        for r in rows:
            if r["status"] == "failed":
                print(f"    FAILED {r['name']}: {r.get('why', '')[:220]}", flush=True)
        with open(out + ".tmp", "w") as f:
            json.dump({"mode": a.mode, "start": os.environ.get("KIT_START", ""), "seconds": round(time.time() - t0, 1),
                       "totals": tot, "results": results}, f, indent=1)
        os.replace(out + ".tmp", out)
    why = {}
    for r in results:
        if r["status"] == "skipped":
            k = r.get("why", "").split(" of node")[0]
            why[k] = why.get(k, 0) + 1
    for k, v in sorted(why.items(), key=lambda x: -x[1]):
        print(f"    skipped {v:4d}  {k}")
    print(f"{'TOTAL':45s} passed {tot['passed']:3d}  failed {tot['failed']:3d}  skipped {tot['skipped']:3d}  {time.time()-t0:7.1f} s")
    return 1 if tot["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
