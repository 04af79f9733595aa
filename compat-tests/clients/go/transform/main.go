// Consumes, transforms, produces, exactly once, until it is killed or fails: franz-go's part of the row
// `kill-transactions`, as in `../../java/src/Transform.java`. The arguments are a transactional id and the
// address.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Whoever is stuck for so long ends, and is started again as any that failed.
const stuck = 40 * time.Second

func main() {
	fmt.Fprintln(os.Stderr, run(os.Args[1], os.Args[2]))
	os.Exit(1)
}

func run(id, address string) error {
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(address),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(5*time.Second),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(),
		kgo.ConsumerGroup("transform"),
		kgo.ConsumeTopics("in"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
		// What the other members of the group know.
		kgo.Balancers(kgo.RangeBalancer()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
	)
	if err != nil {
		return err
	}
	watch := time.AfterFunc(stuck, func() {
		fmt.Fprintln(os.Stderr, "stuck for", stuck)
		os.Exit(1)
	})
	for {
		watch.Reset(stuck)
		if err := transform(session); err != nil {
			return err
		}
	}
}

func transform(session *kgo.GroupTransactSession) error {
	polling, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	fetches := session.PollRecords(polling, 5)
	if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if fetches.NumRecords() == 0 {
		return nil
	}
	if err := session.Begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stuck)
	defer cancel()
	failed := kgo.AbortingFirstErrPromise(session.Client())
	produce := func(topic string, partition int32, value []byte) {
		session.Produce(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: value}, failed.Promise())
	}
	fetches.EachRecord(func(record *kgo.Record) {
		amount := 1
		for _, digit := range record.Value {
			amount += int(digit) % 3
		}
		produce("out", record.Partition, record.Value)
		produce("money", 0, fmt.Appendf(nil, "%s:%d", record.Value, amount))
		produce("money", 1, fmt.Appendf(nil, "%s:%d", record.Value, -amount))
	})
	keep := failed.Err() == nil && rand.IntN(6) != 0
	_, err := session.End(ctx, kgo.TransactionEndTry(keep))
	return err
}
