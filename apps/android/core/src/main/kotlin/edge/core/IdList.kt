package edge.core

/** Token ids, growing, without a box for each. */
internal class IdList(room: Int = 16) {
    var array = IntArray(room.coerceAtLeast(4))
        private set
    var size = 0
        private set

    fun add(id: Int) {
        if (size == array.size) array = array.copyOf(2 * size)
        array[size++] = id
    }

    fun toArray(): IntArray = array.copyOf(size)
}
