defmodule DSPex.Demo.Console do
  @moduledoc """
  What the demo writes: headings, answers, a progress bar, pieces of a stream as they come. Without a terminal the
  progress bar is a line a quarter and no colour is used.
  """

  @bar 30

  @doc "Writes a title."
  @spec title(String.t()) :: :ok
  def title(text), do: IO.puts(["\n", style(:bright, text)])

  @doc "Writes advice, with an empty line before it."
  @spec advice(String.t()) :: :ok
  def advice(text), do: IO.puts(["\n", text])

  @doc "Writes a numbered heading."
  @spec heading(pos_integer(), String.t()) :: :ok
  def heading(number, text), do: IO.puts(["\n", style(:bright, "#{number}. #{text}")])

  @doc "Writes a line with a label before it; long texts are wrapped below each other."
  @spec field(String.t(), String.t()) :: :ok
  def field(label, text) do
    [first | rest] = wrap(text, width() - 16)
    IO.puts(["   ", style(:faint, String.pad_trailing(label, 12)), first])
    Enum.each(rest, &IO.puts([String.duplicate(" ", 15), &1]))
  end

  @doc "Writes an indented line."
  @spec note(String.t()) :: :ok
  def note(text) do
    text |> wrap(width() - 4) |> Enum.each(&IO.puts(["   ", style(:faint, &1)]))
  end

  @doc "Writes lines as they are, indented."
  @spec lines([String.t()]) :: :ok
  def lines(lines), do: Enum.each(lines, &IO.puts(["   ", &1]))

  @doc """
  Shows how many of `total` are done. On a terminal the bar is drawn over itself; elsewhere each quarter gets a line.
  """
  @spec progress(non_neg_integer(), pos_integer(), non_neg_integer()) :: :ok
  def progress(done, total, elapsed_ms) do
    cond do
      terminal?() ->
        IO.write(["\r   ", bar(done, total), " ", seconds(elapsed_ms), if(done == total, do: "\n", else: "")])

      quarter?(done, total) ->
        IO.puts(["   ", bar(done, total), " ", seconds(elapsed_ms)])

      true ->
        :ok
    end
  end

  @doc """
  A progress bar as text.

  ## Examples

      iex> DSPex.Demo.Console.bar(10, 20)
      "[███████████████···············] 10/20"
  """
  @spec bar(non_neg_integer(), pos_integer()) :: String.t()
  def bar(done, total) do
    full = div(done * @bar, total)
    "[#{String.duplicate("█", full)}#{String.duplicate("·", @bar - full)}] #{done}/#{total}"
  end

  @doc """
  Breaks a text into lines of at most `width` characters, at spaces.

  ## Examples

      iex> DSPex.Demo.Console.wrap("the light was lit", 9)
      ["the light", "was lit"]

      iex> DSPex.Demo.Console.wrap("", 9)
      [""]
  """
  @spec wrap(String.t(), pos_integer()) :: [String.t(), ...]
  def wrap(text, width) do
    text
    |> String.split()
    |> Enum.reduce([], fn
      word, [] -> [word]
      word, [line | lines] -> if fits?(line, word, width), do: ["#{line} #{word}" | lines], else: [word, line | lines]
    end)
    |> case do
      [] -> [""]
      lines -> Enum.reverse(lines)
    end
  end

  defp fits?(line, word, width), do: String.length(line) + String.length(word) < width

  defp quarter?(done, total), do: done > 0 and div(done * 4, total) > div((done - 1) * 4, total)

  defp seconds(ms), do: :erlang.float_to_binary(ms / 1000, decimals: 1) <> " s"

  defp style(name, text), do: IO.ANSI.format([name, text], IO.ANSI.enabled?() and terminal?())

  defp terminal?, do: match?({:ok, _columns}, :io.columns())

  defp width do
    case :io.columns() do
      {:ok, columns} -> columns |> max(60) |> min(110)
      {:error, _} -> 100
    end
  end
end
