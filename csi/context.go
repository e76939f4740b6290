// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

// The keys of the volume context (CSI spec, "CreateVolume"): what a PersistentVolume keeps of its
// StorageClass. Those that the StorageClass has too have the same names there. The node reads them.
const (
	keyRDSAddress     = "rdsAddress"     // the box
	keyNVMeAddress    = "nvmeAddress"    // where the box serves NVMe/TCP, if not at rdsAddress
	keyNVMePort       = "nvmePort"       // in a StorageClass a port or a range, in a volume context a port
	keyNQN            = "nqn"            // <prefix>:<volume>, without an epoch; the live one is in the publish context
	keyVolumePath     = "volumePath"     // directory of the backing file
	keyFSType         = "fsType"         // of a filesystem volume
	keyCtrlLossTmo    = "ctrlLossTmo"    // seconds, -1 for ever
	keyReconnectDelay = "reconnectDelay" // seconds
	keyKeepAliveTmo   = "keepAliveTmo"   // seconds, 0 for the kernel's default
	keyTimeout        = "migrationTimeoutSeconds"
	keyFencing        = "fencing"
	keyRWXPolicy      = "rwxPolicy"

	keyNQNPrefix = "nqnPrefix" // StorageClass only
	keySSHPort   = "sshPort"   // StorageClass only
)

// The keys of the publish context (CSI spec, "ControllerPublishVolume"): what a node needs to
// connect. Kubernetes stores it in VolumeAttachment.status.attachmentMetadata.
const (
	publishAddress = "nvme_address"  // IP address or host name
	publishPort    = "nvme_port"     // decimal
	publishNQN     = "nvme_nqn"      // names the volume, and the epoch where there is one
	publishHostNQN = "nvme_host_nqn" // as which the node must connect
	publishHostID  = "nvme_host_id"
	publishSize    = "size_bytes" // exact, when published: the device may have grown since
	publishFSType  = "fs_type"    // filesystem volumes only
	publishAccess  = "access"     // accessReadWrite or accessReadOnly
)

// The values of publishAccess.
const (
	accessReadWrite = "rw"
	accessReadOnly  = "ro"
)

// The keys that are looked for in Kubernetes' objects, too.
const (
	NQNKey     = publishNQN // in VolumeAttachment.status.attachmentMetadata
	TimeoutKey = keyTimeout // in PersistentVolume.spec.csi.volumeAttributes; seconds
	FencingKey = keyFencing // likewise; a mode's name
)
