/** "Reserved Feature Bits", as far as the transport here knows them, by number. */
export const TransportFeature = {
  IndirectDescriptors: 28,
  EventIndex: 29,
  Version1: 32,
  AccessPlatform: 33,
} as const;

/** "Device Status Field". */
export const DeviceStatus = {
  Acknowledge: 1,
  Driver: 2,
  DriverOk: 4,
  FeaturesOk: 8,
  NeedsReset: 64,
  Failed: 128,
} as const;

export function featureBit(n: number): bigint {
  return 1n << BigInt(n);
}

export function hasFeature(features: bigint, n: number): boolean {
  return (features & featureBit(n)) !== 0n;
}
