defmodule DSPex.Native.LM.Sse do
  @moduledoc """
  Reads server-sent events: bytes in, the data of whole events out. Pure; see the WHATWG's HTML standard, section 9.2.
  """

  defstruct buffer: "", data: [], max_bytes: 8_388_608

  @type t :: %__MODULE__{buffer: binary, data: [binary], max_bytes: pos_integer}

  @doc "A reader; an event of more than `max_bytes` is an error."
  @spec new(pos_integer) :: t
  def new(max_bytes \\ 8_388_608), do: %__MODULE__{max_bytes: max_bytes}

  @doc """
  Takes bytes; gives the data of the events that they complete.

      iex> {:ok, [], sse} = DSPex.Native.LM.Sse.feed(DSPex.Native.LM.Sse.new(), "data: {\\"a\\"")
      iex> {:ok, data, _sse} = DSPex.Native.LM.Sse.feed(sse, ": 1}\\r\\n\\r\\n: a remark\\n\\ndata: [DONE]\\n\\n")
      iex> data
      ["{\\"a\\": 1}", "[DONE]"]
  """
  @spec feed(t, binary) :: {:ok, [binary], t} | {:error, String.t()}
  def feed(%__MODULE__{} = sse, bytes) do
    {lines, rest} = lines(sse.buffer <> bytes, [])
    {events, data} = Enum.reduce(lines, {[], sse.data}, &line/2)

    if byte_size(rest) + IO.iodata_length(data) > sse.max_bytes,
      do: {:error, "an event has more than #{sse.max_bytes} bytes"},
      else: {:ok, Enum.reverse(events), %{sse | buffer: rest, data: data}}
  end

  # A carriage return at the very end may be half of a line end: it waits.
  defp lines(text, done) do
    case :binary.match(text, ["\r\n", "\n", "\r"]) do
      {at, size} -> line_end(text, at, size, done)
      :nomatch -> {Enum.reverse(done), text}
    end
  end

  defp line_end(text, at, size, done) do
    case text do
      <<_line::binary-size(at), "\r">> -> {Enum.reverse(done), text}
      <<line::binary-size(at), _end::binary-size(size), rest::binary>> -> lines(rest, [line | done])
    end
  end

  defp line("", {events, []}), do: {events, []}
  defp line("", {events, data}), do: {[data |> Enum.reverse() |> Enum.join("\n") | events], []}
  defp line("data: " <> value, {events, data}), do: {events, [value | data]}
  defp line("data:" <> value, {events, data}), do: {events, [value | data]}
  defp line(_other, state), do: state
end
