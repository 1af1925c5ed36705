package edge.core

import java.util.Calendar

/** How a model's conversations are written: `chat` of app.json, which `edge app` read off the model's template. */
internal class Chat(json: Json) {
    private class Around(val prefix: String, val suffix: String, val trims: Boolean)

    private class Today(val said: String, val format: String)

    private val start = json["start"].text()
    private val answer = json["answer"].text()
    private val roles = json["roles"].names().associateWith { role ->
        val around = json["roles"][role]
        Around(around["prefix"].text(), around["suffix"].text(), around["trims"].flag())
    }
    private val today = json["today"].orNull()?.let { Today(it["said"].text(), it["format"].text()) }

    /** Messages, the last of them a user's -> the text that asks for an answer. */
    fun rendered(messages: List<Message>, now: Calendar = Calendar.getInstance()): String {
        val out = StringBuilder()
        if (messages.none { it.role == SYSTEM }) out.append(dated(start, now))
        for (message in messages) {
            val around = roles[message.role]
                ?: throw EdgeException("This model's conversations have no messages of the role ${message.role.take(20)}.")
            out.append(if (message.role == SYSTEM) dated(around.prefix, now) else around.prefix)
            out.append(if (around.trims) trimmed(message.text) else message.text).append(around.suffix)
        }
        return out.append(answer).toString()
    }

    /** A template may say today's date where a conversation begins: app.json has that of its making. */
    private fun dated(text: String, now: Calendar) =
        if (today == null) text else text.replaceFirst(today.said, formatted(today.format, now))

    private companion object {
        const val SYSTEM = "system"
    }
}

/** What Python's str.strip leaves, and so Jinja's trim: other characters are blanks to Kotlin's. */
internal fun trimmed(text: String): String = text.trim { isBlank(it) || it in '\u001c'..'\u001f' }

private val MONTHS =
    "January February March April May June July August September October November December".split(" ")
private val DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ")

/** The part of strftime that templates use. */
private fun formatted(format: String, now: Calendar): String {
    fun two(field: Int, more: Int = 0) = "${now[field] + more}".padStart(2, '0')
    val month = MONTHS[now[Calendar.MONTH]]
    val day = DAYS[now[Calendar.DAY_OF_WEEK] - 1]
    return Regex("%(.)").replace(format) {
        when (it.groupValues[1]) {
            "d" -> two(Calendar.DAY_OF_MONTH)
            "m" -> two(Calendar.MONTH, 1)
            "Y" -> "${now[Calendar.YEAR]}"
            "y" -> "${now[Calendar.YEAR] % 100}".padStart(2, '0')
            "b" -> month.take(3)
            "B" -> month
            "a" -> day.take(3)
            "A" -> day
            "H" -> two(Calendar.HOUR_OF_DAY)
            "M" -> two(Calendar.MINUTE)
            "S" -> two(Calendar.SECOND)
            "%" -> "%"
            else -> throw EdgeException("The model's chat template writes the date as ${it.value}, which this app cannot.")
        }
    }
}
