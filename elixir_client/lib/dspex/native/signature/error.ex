defmodule DSPex.SignatureError do
  @moduledoc """
  A signature that cannot be used. `message/1` shows the text with carets under the place and says what to write.

      iex> {:error, error} = DSPex.Signature.parse("question: strng -> answer")
      iex> {error.offset, error.suggestion}
      {10, "Did you mean `str`?"}
      iex> Exception.message(error)
      "the type `strng` is not known\\n\\n    question: strng -> answer\\n              ^^^^^\\n\\nDid you mean `str`?"

  Fields: `reason` (what is wrong), `suggestion`, `text` (the signature), `offset` and `length` (bytes), `field`.
  """

  defexception [:reason, :suggestion, :text, :field, offset: 0, length: 0]

  @type t :: %__MODULE__{
          reason: String.t(),
          suggestion: String.t() | nil,
          text: String.t() | nil,
          field: String.t() | nil,
          offset: non_neg_integer,
          length: non_neg_integer
        }

  @width 72
  @steering ~r/[\x{0}-\x{8}\x{b}-\x{1f}\x{7f}-\x{9f}\x{202a}-\x{202e}\x{2066}-\x{2069}]/u

  @doc "The same error as the library's one exception, of reason `:signature_error`."
  @spec to_error(t) :: DSPex.Error.t()
  def to_error(%__MODULE__{} = error) do
    details = %{"offset" => error.offset, "length" => error.length, "suggestion" => error.suggestion}
    DSPex.Error.new(:signature_error, message(error), details: details)
  end

  @impl Exception
  def message(%__MODULE__{text: nil} = error), do: printable(String.trim("#{error.reason}. #{error.suggestion}"))

  def message(%__MODULE__{} = error) do
    {line, column, width} = place(error)
    {shown, column} = window(line, column)
    carets = String.duplicate("^", width |> min(String.length(shown) - column) |> max(1))
    printable("#{error.reason}\n\n    #{shown}\n    #{blank(shown, column)}#{carets}\n\n#{error.suggestion}")
  end

  # What would steer a terminal is shown, one character for one.
  defp printable(message) do
    if String.valid?(message), do: String.replace(message, @steering, &picture/1), else: message
  end

  defp picture(<<code::utf8>>) when code < 0x20, do: <<0x2400 + code::utf8>>
  defp picture(<<0x7F>>), do: "␡"
  defp picture(_other), do: "�"

  # The line that holds the place, and the place in characters.
  defp place(%{text: text, offset: offset, length: length}) do
    text = if String.valid?(text), do: text, else: String.replace(inspect(text, limit: 200), "\n", " ")
    offset = min(offset, byte_size(text))
    before = text |> binary_part(0, offset) |> String.split("\n") |> List.last()
    rest = text |> binary_part(offset, byte_size(text) - offset) |> String.split("\n") |> hd()
    marked = binary_part(rest, 0, min(length, byte_size(rest)))
    {before <> rest, String.length(before), max(1, String.length(marked))}
  end

  defp window(line, column) do
    if String.length(line) <= 2 * @width do
      {line, column}
    else
      left = max(0, column - @width)
      head = if left > 0, do: "…", else: ""
      {head <> String.slice(line, left, 2 * @width) <> "…", column - left + String.length(head)}
    end
  end

  defp blank(shown, column) do
    shown |> String.slice(0, column) |> String.replace(~r/[^\t]/u, " ")
  end
end
