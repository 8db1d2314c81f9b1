/** Entry point of the thread of one device. */
import { startDeviceService } from "../src/machine/device-actors/device-service.ts";

startDeviceService();
