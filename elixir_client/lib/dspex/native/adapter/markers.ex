defmodule DSPex.Native.Adapter.Markers do
  @moduledoc false
  # Content parts (images, audio, files) are marked inside the text of a user's message, and expanded at the end, as DSPy
  # does. A text that a user typed may hold such marks too: `neutralize/1` is for whoever must not let that through.

  alias DSPex.Native.Adapter.JsonText
  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Adapter.Repair
  alias DSPex.Native.Python

  @doc "Splits a user's message with marks into content parts."
  @spec expand(map) :: map
  def expand(%{"role" => "user", "content" => content} = message) when is_binary(content) do
    {start, _stop} = JsonText.marks()
    if :binary.match(content, start) == :nomatch, do: message, else: %{message | "content" => split(content)}
  end

  def expand(message), do: message

  defp split(content) do
    {start, stop} = JsonText.marks()

    case String.split(content, start, parts: 2) do
      [text] ->
        texts(text)

      [before, rest] ->
        case String.split(rest, stop, parts: 2) do
          # An open mark stays text, and so does all that follows it.
          [_open] -> texts(content)
          [payload, rest] -> texts(before) ++ blocks(Python.strip(payload)) ++ split(rest)
        end
    end
  end

  defp texts(""), do: []
  defp texts(text), do: [text_part(text)]

  defp text_part(text), do: {[{"type", "text"}, {"text", text}]}

  defp blocks(payload) do
    case parsed(payload) do
      blocks when is_list(blocks) -> Enum.map(blocks, &block/1)
      _other -> [text_part(payload)]
    end
  end

  defp block({pairs}) when is_list(pairs), do: {pairs}
  defp block(other), do: text_part(Python.str(other))

  # A part inside a list or a dict was quoted a second time.
  defp parsed(payload) do
    with :error <- PythonJson.decode(payload),
         {:ok, text} when is_binary(text) <- PythonJson.decode("\"" <> payload <> "\""),
         {:ok, value} <- PythonJson.decode(text) do
      value
    else
      {:ok, value} -> value
      :error -> repaired(payload)
    end
  end

  defp repaired(payload) do
    with {:ok, value} <- Repair.loads(payload), do: value
  end

  @doc "Breaks the marks in a text, so that it stays text."
  @spec neutralize(String.t()) :: String.t()
  def neutralize(text) do
    {start, stop} = JsonText.marks()

    text
    |> String.replace(start, "< <CUSTOM-TYPE-START-IDENTIFIER>>")
    |> String.replace(stop, "< <CUSTOM-TYPE-END-IDENTIFIER>>")
  end
end
