// Replaces the asset behind a deployment, then scores two rows with what serves.
//
//	go run . SPACE DEPLOYMENT ASSET
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	space, deployment, asset := os.Args[1], os.Args[2], os.Args[3]
	servers := strings.Split(cmp.Or(os.Getenv("BATON_BOOTSTRAP_SERVERS"), "127.0.0.1:9092"), ",")
	prefix := cmp.Or(os.Getenv("BATON_TOPIC_PREFIX"), "baton.")
	commandID, requestID := uuid.NewString(), uuid.NewString()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	client, err := kgo.NewClient(
		kgo.SeedBrokers(servers...),
		kgo.ConsumeTopics(prefix+"events", prefix+"responses"),
		// A minute ago: what is sent below cannot be missed.
		kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(time.Now().Add(-time.Minute).UnixMilli())),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	send(ctx, client, &kgo.Record{
		Topic: prefix + "commands",
		Key:   []byte(space),
		Headers: []kgo.RecordHeader{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte(commandID)},
			{Key: "ce_source", Value: []byte("/examples/go")},
			{Key: "ce_type", Value: []byte("baton.command.replace-asset.v1")},
			{Key: "ce_time", Value: []byte(time.Now().UTC().Format(time.RFC3339Nano))},
			{Key: "ce_actor", Value: []byte("go@example.com")},
			{Key: "content-type", Value: []byte("application/json")},
		},
		Value: fmt.Appendf(nil,
			`{"space_id": %q, "deployment_id": %q, "asset_id": %q, "reason": "accuracy"}`,
			space, deployment, asset),
	})
	event := next(ctx, client, func(record *kgo.Record) bool {
		return header(record, "ce_causationid") == commandID &&
			header(record, "ce_type") != "baton.event.update-started.v1"
	})
	var told struct {
		Revision int
		Message  string
	}
	parse(event, &told)
	fmt.Println(header(event, "ce_type"), "revision", told.Revision, told.Message)

	send(ctx, client, &kgo.Record{
		Topic: prefix + "requests",
		Headers: []kgo.RecordHeader{
			{Key: "deployment-id", Value: []byte(deployment)},
			{Key: "request-id", Value: []byte(requestID)},
		},
		Value: []byte(`{"input_data": [{"fields": ["amount", "age"], "values": [[1.2, 30], [870.5, 41]]}]}`),
	})
	answer := next(ctx, client, func(record *kgo.Record) bool {
		return header(record, "request-id") == requestID
	})
	var scored struct {
		AssetID     string `json:"asset_id"`
		Revision    int
		Predictions []struct{ Values json.RawMessage }
		Error       *struct{ Code, Message string }
	}
	parse(answer, &scored)
	if scored.Error != nil {
		log.Fatalf("%s: %s", scored.Error.Code, scored.Error.Message)
	}
	fmt.Printf("asset %s, revision %d: %s\n", scored.AssetID, scored.Revision, scored.Predictions[0].Values)
}

func send(ctx context.Context, client *kgo.Client, record *kgo.Record) {
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		log.Fatal(err)
	}
}

func next(ctx context.Context, client *kgo.Client, wanted func(*kgo.Record) bool) *kgo.Record {
	for {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			log.Fatal("no answer after a minute: do a worker and a scoring agent run?")
		}
		for _, record := range fetches.Records() {
			if wanted(record) {
				return record
			}
		}
	}
}

func header(record *kgo.Record, name string) string {
	for _, found := range record.Headers {
		if found.Key == name {
			return string(found.Value)
		}
	}
	return ""
}

func parse(record *kgo.Record, into any) {
	if err := json.Unmarshal(record.Value, into); err != nil {
		log.Fatal(err)
	}
}
