// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/uuid"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/csi/csitest"
	"github.com/rds-csi/rds-csi/rds/sim"
)

const sanityCluster = "5a41759a41a1"

// TestSanity runs csi-sanity against the controller as it is run outside of Kubernetes, from its
// command line down to the simulated box, over each transport, and against the node service on a node
// without a kernel: once with filesystems and once with block volumes.
func TestSanity(t *testing.T) {
	if n := flag.Lookup("test.count"); n != nil && n.Value.String() != "1" {
		t.Skip("Ginkgo runs a suite once per process: -count repeats the other tests only")
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	boxes := map[string]*sim.Sim{}
	var contexts []*sanity.TestContext
	var controllers []*process
	for _, over := range demoTransports {
		dir := t.TempDir()
		boxes[over] = startBox(t, filepath.Join(dir, "box"), sim.LoopbackHost()+":0")
		controller := startOver(t, boxes[over], over, "--nodes=node-a,node-b", "--cluster-id="+sanityCluster, "--command-timeout=3s")
		controllers = append(controllers, controller)
		node := startSanityNode(t, dir)
		for _, access := range []string{"mount", "block"} {
			config := sanity.NewTestConfig()
			config.Address, config.ControllerAddress = node, controller.endpoint
			config.TargetPath, config.StagingPath = filepath.Join(dir, access+"-target"), filepath.Join(dir, access+"-staging")
			config.TestVolumeParameters = map[string]string{"fencing": "host"}
			config.TestVolumeAccessType = access
			config.TestVolumeSize = 1 << 30
			config.IDGen = sanityIDs{}
			ginkgo.Describe(over+" "+access, func() { contexts = append(contexts, sanity.GinkgoTest(&config)) })
		}
	}
	ginkgo.ReportAfterSuite("skipped specs", func(r ginkgo.Report) {
		for _, s := range r.SpecReports {
			if s.State.Is(types.SpecStateSkipped) && !notOffered.MatchString(s.Failure.Message) {
				t.Errorf("%s was skipped: %s", s.FullText(), s.Failure.Message)
			}
		}
	})
	for _, c := range controllers {
		c.awaitQuiet(t) // csi-sanity does not repeat what is Unavailable, as the sidecars do
	}
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.Succinct, reporter.NoColor = true, true
	ginkgo.RunSpecs(t, "csi-sanity", suite, reporter)
	for _, c := range contexts {
		c.Finalize()
	}
	for over, box := range boxes {
		if n := box.Commands()["/disk/add"]; n == 0 {
			t.Errorf("%s: no disk was made", over)
		}
		if disks, files := box.Disks(), box.Files(); len(disks) > 0 || len(files) > 0 {
			t.Errorf("%s: left on the box: %+v, %+v", over, disks, files)
		}
	}
}

// notOffered are the features that this driver does not have, by csi-sanity's words for it. A spec
// that is skipped for another reason was skipped because a capability was lost.
var notOffered = regexp.MustCompile(`Snapshot|GroupController|Cloning|Modify ?[Vv]olume|\.readonly field|NodeGetStorageHealth|testnodevolumeattachlimit`)

// startSanityNode serves the node service on a node without a kernel and returns its endpoint.
func startSanityNode(t *testing.T, dir string) string {
	kernel := csitest.New(csitest.Config{})
	node, err := csi.NewNode(csi.NodeConfig{
		Node: "node-a", Host: actors.HostOf(sanityCluster, "node-a"), StateDir: filepath.Join(dir, "state"),
		Devices: kernel, Mounts: kernel, Filesystems: kernel, Surveyor: kernel,
	})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := csi.NewIdentity(csi.IdentityConfig{Version: "sanity"})
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "unix://" + filepath.Join(dir, "node.sock")
	server, err := csi.NewServer(t.Context(), csi.ServerConfig{Endpoint: endpoint, Identity: identity, Node: node})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := node.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return endpoint
}

// sanityIDs makes IDs of this driver's forms.
type sanityIDs struct{}

func (sanityIDs) GenerateUniqueValidVolumeID() string { return "pvc-" + uuid.NewString() }
func (sanityIDs) GenerateInvalidVolumeID() string     { return "not a volume" }
func (sanityIDs) GenerateUniqueValidNodeID() string   { return "node-" + uuid.NewString()[:8] }
func (sanityIDs) GenerateInvalidNodeID() string       { return "not a node" }
