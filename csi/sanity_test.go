// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"flag"
	"path/filepath"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/csi/csitest"
)

// A sanityDriver is what csi-sanity is run against.
type sanityDriver struct {
	controller csipb.ControllerServer
	node       csipb.NodeServer
	parameters map[string]string // of the StorageClass
}

// sanityOf makes the driver that TestSanity runs. The services are the real ones, over a box, a
// supervisor and a node in memory.
func sanityOf(t *testing.T) sanityDriver {
	box := newFakeBox()
	controller, err := csi.NewController(csi.Config{
		Volumes: &fakeVolumes{fakeBox: box, nodes: []actors.NodeID{"a"}}, Storage: box,
		Cluster: testCluster, BoxAddress: testBox, VolumePath: "/raid10/volumes",
	})
	if err != nil {
		t.Fatal(err)
	}
	kernel := csitest.New(csitest.Config{Size: func(_ context.Context, nqn string) (int64, error) {
		id, _, _ := strings.Cut(nqn[strings.LastIndexByte(nqn, ':')+1:], ".")
		return box.row(id).Size, nil
	}})
	node, err := csi.NewNode(csi.NodeConfig{
		Node: "a", Host: actors.HostOf(testCluster, "a"), StateDir: t.TempDir(),
		Devices: kernel, Mounts: kernel, Filesystems: kernel,
	})
	if err != nil {
		t.Fatal(err)
	}
	return sanityDriver{
		controller: controller,
		node:       node,
		parameters: map[string]string{"fencing": "epoch", "nvmePort": "4420-8515"},
	}
}

// TestSanity runs csi-sanity over real unix sockets, one for the controller and one for the node as in
// a cluster: once with filesystems and once with block volumes.
func TestSanity(t *testing.T) {
	if n := flag.Lookup("test.count"); n != nil && n.Value.String() != "1" {
		t.Skip("Ginkgo runs a suite once per process: -count repeats the other tests only")
	}
	driver := sanityOf(t)
	dir := t.TempDir()
	endpoint := func(name string) string { return "unix://" + filepath.Join(dir, name) }
	id := identity(t, nil)
	serve(t, csi.ServerConfig{Endpoint: endpoint("controller.sock"), Identity: id, Controller: driver.controller})
	serve(t, csi.ServerConfig{Endpoint: endpoint("node.sock"), Identity: id, Node: driver.node})

	gomega.RegisterFailHandler(ginkgo.Fail)
	var contexts []*sanity.TestContext
	for _, access := range []string{"mount", "block"} {
		config := sanity.NewTestConfig()
		config.Address, config.ControllerAddress = endpoint("node.sock"), endpoint("controller.sock")
		config.TargetPath, config.StagingPath = filepath.Join(dir, access+"-target"), filepath.Join(dir, access+"-staging")
		config.TestVolumeParameters = driver.parameters
		config.TestVolumeAccessType = access
		config.TestVolumeSize = 1 << 30
		config.IDGen = sanityIDs{}
		ginkgo.Describe(access, func() { contexts = append(contexts, sanity.GinkgoTest(&config)) })
	}
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.Succinct, reporter.NoColor = true, true
	ginkgo.RunSpecs(t, "csi-sanity", suite, reporter)
	for _, c := range contexts {
		c.Finalize()
	}
}

// sanityIDs makes IDs of the driver's forms.
type sanityIDs struct{}

func (sanityIDs) GenerateUniqueValidVolumeID() string { return "pvc-" + uuid.NewString() }
func (sanityIDs) GenerateInvalidVolumeID() string     { return "fake-vol-id" }
func (sanityIDs) GenerateUniqueValidNodeID() string   { return "node-" + uuid.NewString() }
func (sanityIDs) GenerateInvalidNodeID() string       { return "Fake Node" }
