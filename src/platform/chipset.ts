import { acpiPmPort } from "./acpi-pm.ts";
import { PciFunction } from "./pci-function.ts";

const intel = 0x8086;

/** The functions of the 440FX/PIIX chipset that software looks for: host bridge, ISA bridge, power management. */
export function chipsetFunctions(): PciFunction[] {
  return [
    new PciFunction({
      bus: 0,
      device: 0,
      function: 0,
      vendorId: intel,
      deviceId: 0x1237,
      classCode: 0x06_0000,
      revision: 2,
      registers: [
        // Memory attributes and SMRAM control. The memory they speak of is always RAM here.
        { offset: 0x59, values: [0, 0, 0, 0, 0, 0, 0], writable: 0xff },
        { offset: 0x72, values: [0x02], writable: 0xff },
      ],
    }),
    new PciFunction({
      bus: 0,
      device: 1,
      function: 0,
      vendorId: intel,
      deviceId: 0x7000,
      classCode: 0x06_0100,
      isMultiFunction: true,
      // PCI interrupt routing: none.
      registers: [{ offset: 0x60, values: [0x80, 0x80, 0x80, 0x80], writable: 0xff }],
    }),
    new PciFunction({
      bus: 0,
      device: 1,
      function: 3,
      vendorId: intel,
      deviceId: 0x7113,
      classCode: 0x06_8000,
      revision: 3,
      registers: [
        // Where the ACPI registers are, and that they are decoded.
        {
          offset: 0x40,
          values: [(acpiPmPort.event & 0xff) | 1, acpiPmPort.event >>> 8],
          writable: 0,
        },
        { offset: 0x80, values: [1], writable: 0 },
      ],
    }),
  ];
}
