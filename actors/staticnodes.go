// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"fmt"
	"sync"
)

// StaticNodes is the Nodes of an installation without Kubernetes: a list of the nodes that exist.
// It may be used from many goroutines.
type StaticNodes struct {
	mu    sync.RWMutex
	nodes map[NodeID]bool
}

var _ Nodes = (*StaticNodes)(nil)

// NewStaticNodes returns a list of the given nodes. It is ErrInvalid where one of them is malformed
// or named twice.
func NewStaticNodes(nodes ...NodeID) (*StaticNodes, error) {
	s := &StaticNodes{nodes: make(map[NodeID]bool, len(nodes))}
	for _, node := range nodes {
		if err := node.Check(); err != nil {
			return nil, fmt.Errorf("read the list of nodes: %w", err)
		}
		if s.nodes[node] {
			return nil, fmt.Errorf("read the list of nodes: %s stands in it twice: %w", node, ErrInvalid)
		}
		s.nodes[node] = true
	}
	return s, nil
}

// Add puts a node on the list, as when it joins or comes back. It is ErrInvalid where the node is
// malformed.
func (s *StaticNodes) Add(node NodeID) error {
	if err := node.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[node] = true
	return nil
}

// Remove takes a node off the list. From then on it is lost: no volume is granted to it, and a
// detach from it is a forced one.
func (s *StaticNodes) Remove(node NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, node)
}

// Check returns ErrNotFound unless the node is on the list. Nobody but the ledger knows of attachments.
func (s *StaticNodes) Check(_ context.Context, _ VolumeID, node NodeID) (string, error) {
	if !s.has(node) {
		return "", fmt.Errorf("node %.80q is not in the list of nodes: %w", string(node), ErrNotFound)
	}
	return "", nil
}

// Lost tells the nodes that are not on the list. Those on it are taken at their word: without
// Kubernetes nobody reports what a node still uses.
func (s *StaticNodes) Lost(_ context.Context, _ VolumeID, node NodeID) string {
	if !s.has(node) {
		return "node is not in the list"
	}
	return ""
}

func (s *StaticNodes) has(node NodeID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.nodes[node]
}
