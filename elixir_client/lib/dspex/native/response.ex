defmodule DSPex.Native.Response do
  @moduledoc """
  What an LM wrote, taken apart without Python: JSON in prose and fences, repaired where it is damaged; JSON that is still
  being written; sections under markers.

      iex> DSPex.Native.Response.json("Sure:\\n```json\\n{\\"a\\": 1}\\n```\\nAnything else?")
      {:ok, %{"a" => 1}, :found}
      iex> DSPex.Native.Response.json("{'a': 1, 'b': [2, 3")
      {:ok, %{"a" => 1, "b" => [2, 3]}, :repaired}
      iex> DSPex.Native.Response.sections("[[ ## a ## ]]\\n1\\n\\n[[ ## completed ## ]]")
      %{"a" => "1", "completed" => ""}

  The adapters read completions by DSPy's own rules (`DSPex.Native.Adapter`); this module is for programs that read an LM's
  text themselves.
  """

  alias DSPex.Error
  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Adapter.Repair
  alias DSPex.Native.Python
  alias DSPex.Native.Response.Partial

  @max_bytes 16_777_216
  @fence ~r/```[^\n`]*\n(.*?)(?:```|\z)/s
  # What json_repair makes of a text without JSON.
  @nothing ["", nil]

  @typedoc "`:exact`: the whole text; `:found`: a part of it as it stands; `:repaired`: as Python's `json_repair` mends it."
  @type how :: :exact | :found | :repaired

  @doc """
  The JSON value in a text: the text itself, else what stands in a fence, else the first object, else the repaired text.
  Objects are maps. Texts above 16 MiB are refused, and damaged ones above 200,000 bytes are not repaired.
  """
  @spec json(String.t()) :: {:ok, term, how} | {:error, Error.t()}
  def json(text) when byte_size(text) > @max_bytes,
    do: refused("the response has #{byte_size(text)} bytes, and #{@max_bytes} are read at most")

  def json(text) do
    if String.valid?(text), do: read(text), else: refused("the response is not valid UTF-8")
  end

  defp read(text) do
    with :error <- decoded(text, :exact),
         :error <- text |> fences() |> Enum.find_value(:error, &found/1),
         :error <- text |> Repair.balanced() |> decoded(:found) do
      repaired(text)
    end
  end

  defp fences(text), do: for([_all, content] <- Regex.scan(@fence, text), do: content)

  defp found(text) do
    with :error <- decoded(text, :found), do: nil
  end

  defp decoded(nil, _how), do: :error

  defp decoded(text, how) do
    with {:ok, value} <- PythonJson.decode(text), do: {:ok, Python.to_elixir(value), how}
  end

  defp repaired(text) do
    case repair(text) do
      {:ok, value} when value in @nothing -> refused("the response holds no JSON")
      {:ok, value} -> {:ok, value, :repaired}
      :error -> refused("the response holds no JSON that can be repaired here; Python's `json_repair` may read it")
    end
  end

  defp refused(message),
    do: {:error, Error.new(:invalid_input, message <> ". Ask the LM for JSON alone, or read the text yourself.")}

  @doc """
  As Python's `json_repair.loads`, value for value; `""` for a text without JSON, `:error` for more than 200,000 damaged
  bytes.

      iex> DSPex.Native.Response.repair(~S({"a": "it's", b: tru))
      {:ok, %{"a" => "it's", "b" => "tru"}}
  """
  @spec repair(String.t()) :: {:ok, term} | :error
  def repair(text) do
    case Repair.loads(text) do
      {:ok, value} -> {:ok, Python.to_elixir(value)}
      :unsure -> :error
    end
  end

  @doc """
  The value of a JSON text that is not complete yet, or `:none` before it begins; `DSPex.Native.Response.Partial` does the
  same for a text that grows, without reading it again.

      iex> DSPex.Native.Response.partial(~S(Here: {"items": ["a", "b c))
      {:ok, %{"items" => ["a", "b c"]}}
  """
  @spec partial(String.t()) :: {:ok, term} | :none
  def partial(text), do: Partial.new() |> Partial.feed(text) |> Partial.value()

  @doc """
  The text of each section under `[[ ## name ## ]]`, the first one of a name; what stands before them is dropped.

      iex> DSPex.Native.Response.sections("hi\\n[[ ## a ## ]] 1\\n2\\n[[ ## a ## ]]\\n3")
      %{"a" => "1\\n2"}
  """
  @spec sections(String.t()) :: %{optional(String.t()) => String.t()}
  def sections(completion), do: completion |> Python.split_lines() |> sections(nil, [], %{})

  defp sections([], name, lines, found), do: keep(found, name, lines)

  defp sections([line | rest], name, lines, found) do
    case header(line) do
      nil -> sections(rest, name, [line | lines], found)
      {next, ""} -> sections(rest, next, [], keep(found, name, lines))
      {next, content} -> sections(rest, next, [content], keep(found, name, lines))
    end
  end

  defp keep(found, nil, _lines), do: found
  defp keep(found, name, _lines) when is_map_key(found, name), do: found
  defp keep(found, name, lines), do: Map.put(found, name, lines |> Enum.reverse() |> Enum.join("\n") |> Python.strip())

  # As in DSPy, the header is found in the stripped line, and its length is then cut off the line as it stands.
  defp header(<<"[[ ## ", rest::binary>> = line) do
    case name(rest, 0) do
      {:ok, name, rest} -> {name, Python.strip(rest)}
      :wide -> wide_header(line)
      :none -> nil
    end
  end

  defp header(line), do: if(:binary.match(line, "[[ ## ") == :nomatch, do: nil, else: wide_header(line))

  # Names in ASCII need no regular expression.
  defp name(text, length) do
    case text do
      <<_name::binary-size(length), char, _rest::binary>>
      when char in ?a..?z or char in ?A..?Z or char in ?0..?9 or char == ?_ ->
        name(text, length + 1)

      <<name::binary-size(length), " ## ]]", rest::binary>> when length > 0 ->
        {:ok, name, rest}

      <<_name::binary-size(length), char, _rest::binary>> when char >= 0x80 ->
        :wide

      _other ->
        :none
    end
  end

  defp wide_header(line) do
    case Regex.run(~r/\A\[\[ ## ([\p{L}\p{N}_]+) ## \]\]/u, Python.strip(line)) do
      [match, name] -> {name, line |> String.slice(String.length(match)..-1) |> Python.strip()}
      nil -> nil
    end
  end
end
