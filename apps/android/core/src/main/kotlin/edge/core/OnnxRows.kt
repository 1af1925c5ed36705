package edge.core

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.ByteArrayOutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.IntBuffer

/**
 * Takes rows of a tensor [1, G, S, W] into a new one [1, G, C, W], by a graph of three nodes: what a graph makes lies in ONNX
 * Runtime's own memory. Android counts a direct buffer against the app's heap, which is too small for a cache.
 */
internal class OnnxRows(private val environment: OrtEnvironment) : AutoCloseable {
    private val session = OrtSession.SessionOptions().use {
        it.setCPUArenaAllocator(false) // which would keep what is freed
        environment.createSession(graph(), it)
    }

    /** Room for [rows] rows, of zeros. */
    fun empty(heads: Int, rows: Int, width: Int): OnnxTensor =
        tensor(environment, FloatArray(heads * width), longArrayOf(1, heads.toLong(), 1, width.toLong())).use {
            taken(it, Array(heads) { IntArray(1) }, rows)
        }

    /** For each head the rows [places], and room up to [room] rows: what lies there means nothing. */
    fun taken(from: OnnxTensor, places: Array<IntArray>, room: Int): OnnxTensor {
        val (_, heads, rows, width) = from.info.shape.map { it.toInt() }
        val flat = ints(heads * room)
        places.forEachIndexed { head, kept ->
            for (at in 0 until room) flat.put(head * rows + if (at < kept.size) kept[at] else 0)
        }
        flat.rewind()
        val feeds = mapOf(
            "rows" to from,
            "flat" to longs(environment, heads * rows.toLong(), width.toLong()),
            "places" to OnnxTensor.createTensor(environment, flat, longArrayOf(heads * room.toLong())),
            "shape" to longs(environment, 1, heads.toLong(), room.toLong(), width.toLong()),
        )
        try {
            return session.run(feeds).get(0) as OnnxTensor // not closed with the result: it is what was asked for
        } finally {
            for (fed in feeds.values) if (fed !== from) fed.close()
        }
    }

    override fun close() = session.close()

    private companion object {
        /** An ONNX model in its wire format: rows -> Reshape -> Gather -> Reshape -> taken. */
        fun graph(): ByteArray {
            val nodes = listOf(
                node("Reshape", "rows", "flat", "all"),
                node("Gather", "all", "places", "some"),
                node("Reshape", "some", "shape", "taken"),
            )
            val float = 1L
            val int = 6L
            val long = 7L
            val inputs = listOf(value("rows", float), value("flat", long), value("places", int), value("shape", long))
            val graph = nodes.map { field(1, it) } + field(2, "rows".toByteArray()) +
                inputs.map { field(11, it) } + field(12, value("taken", float))
            return field(1, 8L) + field(8, field(1, ByteArray(0)) + field(2, 17L)) + field(7, joined(graph))
        }

        fun node(kind: String, first: String, second: String, out: String) = joined(
            listOf(1 to first, 1 to second, 2 to out, 4 to kind).map { (number, text) -> field(number, text.toByteArray()) },
        )

        fun value(name: String, kind: Long) = field(1, name.toByteArray()) + field(2, field(1, field(1, kind)))

        fun field(number: Int, value: Long) = varint(number.toLong() shl 3) + varint(value)

        fun field(number: Int, bytes: ByteArray) = varint((number.toLong() shl 3) or 2) + varint(bytes.size.toLong()) + bytes

        fun varint(value: Long): ByteArray =
            if (value < 0x80) byteArrayOf(value.toByte()) else byteArrayOf((value or 0x80).toByte()) + varint(value shr 7)

        fun joined(parts: List<ByteArray>) = ByteArrayOutputStream().also { out -> parts.forEach { out.write(it) } }.toByteArray()
    }
}

internal fun longs(environment: OrtEnvironment, vararg values: Long): OnnxTensor {
    val buffer = direct(values.size, 8).asLongBuffer()
    buffer.put(values).rewind()
    return OnnxTensor.createTensor(environment, buffer, longArrayOf(values.size.toLong()))
}

internal fun tensor(environment: OrtEnvironment, values: FloatArray, shape: LongArray): OnnxTensor {
    val buffer = floats(values.size)
    buffer.put(values).rewind()
    return OnnxTensor.createTensor(environment, buffer, shape)
}

internal fun floats(count: Int): FloatBuffer = direct(count, 4).asFloatBuffer()

internal fun ints(count: Int): IntBuffer = direct(count, 4).asIntBuffer()

internal fun direct(count: Int, size: Int): ByteBuffer = ByteBuffer.allocateDirect(count * size).order(ByteOrder.nativeOrder())
