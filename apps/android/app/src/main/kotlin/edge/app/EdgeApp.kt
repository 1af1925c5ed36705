package edge.app

import android.app.Application
import android.content.Context
import android.system.Os

/** The process: nothing of it tells anybody anything. */
class EdgeApp : Application() {
    override fun attachBaseContext(base: Context) {
        super.attachBaseContext(base)
        // Before any class of ONNX Runtime and any provider; its telemetry is on unless told not to be.
        Os.setenv("ORT_DISABLE_TELEMETRY", "1", true)
    }
}
