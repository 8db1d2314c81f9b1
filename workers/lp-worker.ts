/** Entry point of an LP's thread. */
import { startLpService } from "../src/machine/drivers/lp-service.ts";
import { EventLog } from "../src/trace/event-log.ts";

await startLpService((file) => new EventLog(file));
