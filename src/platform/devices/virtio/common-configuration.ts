/** Fields of the "Common configuration structure layout", by offset. Those of 64 bits are accessed as two halves. */
export const CommonField = {
  DeviceFeatureSelect: 0x00,
  DeviceFeature: 0x04,
  DriverFeatureSelect: 0x08,
  DriverFeature: 0x0c,
  ConfigurationVector: 0x10,
  QueueCount: 0x12,
  DeviceStatus: 0x14,
  ConfigurationGeneration: 0x15,
  QueueSelect: 0x16,
  QueueSize: 0x18,
  QueueVector: 0x1a,
  QueueEnable: 0x1c,
  QueueNotifyOffset: 0x1e,
  QueueDescriptors: 0x20,
  QueueDescriptorsHigh: 0x24,
  QueueDriver: 0x28,
  QueueDriverHigh: 0x2c,
  QueueDevice: 0x30,
  QueueDeviceHigh: 0x34,
} as const;

export const commonBytes = 0x38;
/** A vector of no MSI-X entry. */
export const noVector = 0xffff;
