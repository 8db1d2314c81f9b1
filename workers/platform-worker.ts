/** Entry point of the thread of all devices. */
import { startPlatformService } from "../src/machine/drivers/platform-service.ts";

startPlatformService();
